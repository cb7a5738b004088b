# Run it with: mix run examples/hang.exs
Process.flag(:trap_exit, true)
{:ok, pool} = Leash.Pool.start_link(heartbeat: "notify", heartbeat_interval: 200, heartbeat_timeout: 1000)
{:ok, worker} = Leash.Worker.start_link(pool: pool, argv: ["python3", "worker.py", "hang"], cwd: __DIR__)
:ok = Leash.Worker.await_ready(worker)
IO.puts("ready")

receive do
  {:leash, ^worker, {:hang, %{silence_ms: silence}}} -> IO.puts("silent for #{silence} ms")
end

receive do
  {:EXIT, ^worker, {:worker, cause, _status}} -> IO.puts("ended: #{cause}")
end
