defmodule Snakepit.Leash do
  # What ProcessKiller, ProcessRegistry and ApplicationCleanup do, by worker ID instead of by PID.

  @pool __MODULE__.Pool

  # ApplicationCleanup and the orphan clean-up at start: the reaper first, then the pool. The end of the
  # BEAM is the end of every worker, also where no terminate/2 runs.
  def child_spec(options) do
    beats = [heartbeat: "notify", heartbeat_interval: 2000, heartbeat_timeout: 10_000, max_missed: 3]
    Leash.Pool.child_spec([name: @pool, grace: 2000] ++ beats ++ options)
  end

  # ProcessRegistry.reserve_worker, activate_worker: a worker's record is in the ledger before it runs.
  def start_worker(worker_id, argv, options \\ []) do
    Leash.Worker.start_link([pool: @pool, worker_id: worker_id, argv: argv] ++ options)
  end

  # ProcessRegistry.get_beam_run_id, list_all_workers, get_worker_info, get_active_process_pids
  def get_beam_run_id do
    {:ok, %{run_id: run_id}} = Leash.Pool.info(@pool)
    run_id
  end

  def list_all_workers do
    {:ok, workers} = Leash.Pool.list(@pool)
    workers
  end

  def get_worker_info(worker_id) do
    case Enum.find(list_all_workers(), &(&1["worker_id"] == worker_id)) do
      nil -> {:error, :not_found}
      worker -> {:ok, worker}
    end
  end

  def get_active_process_pids, do: Enum.map(list_all_workers(), & &1["pid"])

  # ProcessKiller.kill_with_escalation, kill_process_group_with_escalation: the tree of one worker
  def kill_with_escalation(worker, timeout_ms \\ 2000) do
    with {:ok, %Leash.Exit{survivors: 0}} <- Leash.Worker.stop(worker, grace: timeout_ms), do: :ok
  end

  # ProcessKiller.kill_by_run_id, for the run of this BEAM
  def kill_all(timeout_ms \\ 2000), do: Leash.Pool.stop_all(@pool, grace: timeout_ms)
end

defmodule Snakepit.Leash.GRPCWorker do
  # As much of grpc_worker.ex as has to do with the process: its start, its port, its end.
  use GenServer

  def start_link(options), do: GenServer.start_link(__MODULE__, options)

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)

    with {:ok, worker} <- Snakepit.Leash.start_worker(options[:id], options[:argv]) do
      {:ok, %{id: options[:id], worker: worker, port: nil, to: options[:to]}}
    else
      {:error, error} -> {:stop, error}
    end
  end

  @impl true
  def handle_info({:leash, worker, {:output, :stdout, "GRPC_READY:" <> port}}, %{worker: worker} = state) do
    send(state.to, {:ready, state.id, String.to_integer(port)})
    {:noreply, %{state | port: String.to_integer(port)}}
  end

  def handle_info({:leash, _, {:hang, %{silence_ms: silence}}}, state) do
    send(state.to, {:hang, state.id, silence})
    {:noreply, state}
  end

  # Snakepit's supervisor starts another one; the cause is in the reason.
  def handle_info({:EXIT, worker, reason}, %{worker: worker} = state), do: {:stop, reason, %{state | worker: nil}}
  def handle_info(_, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, %{worker: nil}), do: :ok
  def terminate(_reason, state), do: Snakepit.Leash.kill_with_escalation(state.worker)
end
