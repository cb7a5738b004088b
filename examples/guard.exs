# Run it with: elixir guard.exs
python = System.find_executable("python3")
worker = Port.open({:spawn_executable, python}, [:binary, line: 1024, args: ["worker.py"]])

# This is all that Leash needs beside a port that you have already.
{:os_pid, pid} = Port.info(worker, :os_pid)
args = ~w(guard --worker-pid #{pid} --parent-fd 0 --parent-pid #{System.pid()})
Port.open({:spawn_executable, System.find_executable("watchdog")}, args: args)

receive do: ({^worker, {:data, {:eol, "READY"}}} -> IO.puts("READY"))
Process.sleep(:infinity)
