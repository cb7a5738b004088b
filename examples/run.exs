# Run it with: elixir run.exs
watchdog = System.find_executable("watchdog") || raise "watchdog is not in PATH"
args = ~w(run --parent-fd 0 --parent-pid #{System.pid()} -- python3 worker.py)
port = Port.open({:spawn_executable, watchdog}, [:binary, :exit_status, line: 1024, args: args])

receive do
  {^port, {:data, {:eol, "READY"}}} -> IO.puts("READY")
  {^port, {:exit_status, status}} -> exit({:shutdown, status})
end

Process.sleep(:infinity)
