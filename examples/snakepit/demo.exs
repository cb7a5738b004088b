# Run it in clients/elixir: mix run ../../examples/snakepit/demo.exs
# It starts a pool of four, and stays. Kill it with kill -9, or stop one worker: kill -STOP PID.
Code.require_file("adapter.exs", __DIR__)
python = ["python3", Path.join(__DIR__, "worker.py")]

workers =
  for n <- 1..4 do
    Supervisor.child_spec({Snakepit.Leash.GRPCWorker, id: "worker_#{n}", argv: python, to: self()}, id: n)
  end

{:ok, _} = Supervisor.start_link([Snakepit.Leash | workers], strategy: :rest_for_one)

show = fn show ->
  receive do
    {:ready, id, port} ->
      {:ok, %{"pid" => pid}} = Snakepit.Leash.get_worker_info(id)
      IO.puts("READY #{id} pid=#{pid} port=#{port}")

    {:hang, id, silence} ->
      IO.puts("HANG #{id} silence_ms=#{silence}")
  end

  show.(show)
end

show.(show)
