# A BEAM node that opens ports to workers, with or without a watchdog beside
# each: elixir beam_parent.exs WATCHDOG PYTHON WORKER RUN_ID SPEC...
#
# A SPEC is MODE,WORKER_ID,ARGUMENT,... with MODE one of guard (a watchdog
# beside the worker), run (the watchdog starts the worker) and bare (none).
# All that workers print comes out with "WORKER_ID " in front. The line "stop"
# on standard input stops the node in the normal way.

defmodule BeamParent do
  def main([watchdog, python, worker, run_id | specs]) do
    say("PARENT #{System.pid()}")
    config = %{watchdog: watchdog, python: python, worker: worker, run_id: run_id}
    ports = for spec <- specs, entry <- start(config, String.split(spec, ",")), into: %{}, do: entry
    spawn_link(&await_stop/0)
    loop(ports)
  end

  defp start(config, [mode, id | flags]) do
    args = [config.worker, "--port", "0", "--run-id", config.run_id, "--worker-id", id | flags]
    labels = ["--parent-pid", System.pid(), "--run-id", config.run_id, "--worker-id", id]
    env = [{'LEASH_RUN_ID', to_charlist(config.run_id)}, {'LEASH_WORKER_ID', to_charlist(id)}]

    case mode do
      "bare" ->
        [{open(config.python, args, env), id}]

      "guard" ->
        port = open(config.python, args, env)
        guard = open(config.watchdog, ["guard", "--worker-pid", os_pid(port) | labels], [])
        say("#{id} PID watchdog #{os_pid(guard)}")
        [{port, id}, {guard, id}]

      "run" ->
        run = open(config.watchdog, ["run"] ++ labels ++ ["--", config.python | args], [])
        say("#{id} PID watchdog #{os_pid(run)}")
        [{run, id}]
    end
  end

  defp open(program, args, env) do
    options = [:binary, :exit_status, line: 4096, args: args, env: env]
    Port.open({:spawn_executable, program}, options)
  end

  defp os_pid(port) do
    {:os_pid, pid} = Port.info(port, :os_pid)
    Integer.to_string(pid)
  end

  defp loop(ports) do
    receive do
      {port, {:data, {_, line}}} -> say("#{ports[port]} #{line}")
      {port, {:exit_status, status}} -> say("#{ports[port]} EXIT #{status}")
    end

    loop(ports)
  end

  defp await_stop do
    case IO.gets("") do
      "stop\n" -> System.stop(0)
      _ -> :ok
    end
  end

  defp say(text), do: IO.puts(text)
end

BeamParent.main(System.argv())
