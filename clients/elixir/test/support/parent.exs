# A parent to be killed: it starts as many trees as it is told, and stays.
[script, port, count] = System.argv()
{:ok, pool} = Leash.Pool.start_link()

for _ <- 1..String.to_integer(count) do
  {:ok, _} = Leash.Worker.start_link(pool: pool, argv: ["python3", script, port])
end

IO.puts("STARTED")
Process.sleep(:infinity)
