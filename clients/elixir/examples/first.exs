# Run it with: mix run examples/first.exs
{:ok, pool} = Leash.Pool.start_link()
{:ok, worker} = Leash.Worker.start_link(pool: pool, argv: ["python3", "worker.py"], cwd: __DIR__)

receive do
  {:leash, ^worker, {:output, :stdout, line}} -> IO.puts("it says #{line}")
after
  60_000 -> raise "the worker says nothing"
end

{:ok, exit} = Leash.Worker.stop(worker)
IO.puts("ended: #{exit.cause}")
