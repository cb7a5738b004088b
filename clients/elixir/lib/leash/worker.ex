defmodule Leash.Worker do
  @moduledoc """
  A worker of a `Leash.Pool`, as a process of yours: linked, monitored, supervised.

      {:ok, worker} = Leash.Worker.start_link(pool: MyApp.Pool, argv: ["python3", "worker.py"])

  Its exit reason is `{:worker, cause, status}` (`Leash.Exit`), for example `{:worker, :hung, 1}` or
  `{:worker, :signal, {:signal, "SIGKILL"}}`; after `stop/2` it is `:normal`. When this process ends,
  killed or not, the worker's process tree is ended.

  The process that called `start_link/1`, or `:notify`, gets `{:leash, worker, message}`:

    * `{:output, :stdout | :stderr, line}`
    * `:ready`
    * `{:hang, %{missed: n, silence_ms: n}}`
    * `{:restart, %{attempt: n, delay_ms: n}}`
    * `{:exit, %Leash.Exit{}}`

  ## Options

    * `:pool` - `Leash.Pool` unless told otherwise
    * `:argv` - the command and its arguments; or `:guard`, the process ID of one that runs already
    * `:worker_id` - else one is made up
    * `:env` - a map, added to the pool's environment; `nil` removes
    * `:cwd`, `:stdout`, `:stderr` - `"lines"`, `"null"`, `"stderr"` or `{:file, path}`
    * `:name`, `:notify` - of this process
    * `:timeout` - the deadline of the start in milliseconds; the pool's unless told otherwise
    * `:stop_timeout` - the deadline of an end, 60000
    * any other option is a flag of `watchdog run`: `heartbeat: "notify"`, `grace: 5000`, `restart:
      "on-failure"`. Durations are milliseconds, or strings as on the command line
  """

  use GenServer
  alias Leash.{Error, Exit, Pool, Telemetry}

  @options ~w(pool argv guard name notify timeout stop_timeout)a
  @no_such_worker -32_001

  @type t :: GenServer.server()

  @doc false
  def child_spec(options) do
    %{
      id: options[:worker_id] || options[:name] || __MODULE__,
      start: {__MODULE__, :start_link, [options]},
      shutdown: Keyword.get(options, :stop_timeout, 60_000) + 5000
    }
  end

  @doc "Starts a worker. Returns once it runs."
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options), do: start(options, &GenServer.start_link/3)

  @doc "As `start_link/1`, without the link."
  @spec start(keyword) :: GenServer.on_start()
  def start(options), do: start(options, &GenServer.start/3)

  defp start(options, start) do
    options = Keyword.put_new(options, :notify, self())
    start.(__MODULE__, options, Keyword.take(options, [:name]))
  end

  @doc "Waits until the worker says READY=1 (with `heartbeat: \"notify\"`)."
  @spec await_ready(t, timeout) :: :ok | {:error, Error.t()}
  def await_ready(worker, timeout \\ 60_000), do: call(worker, :await_ready, timeout)

  @doc """
  Ends the worker politely; returns once nothing of it is left.
  Options: `:grace`, `:stop_signal`, `:timeout` (60000).
  """
  @spec stop(t, keyword) :: {:ok, Exit.t()} | {:error, Error.t()}
  def stop(worker, options \\ []) do
    {timeout, flags} = Keyword.pop(options, :timeout, 60_000)
    call(worker, {:stop, Pool.parameters(flags), timeout}, timeout)
  end

  @doc "Sends a signal (`\"HUP\"`) to the worker's process group."
  @spec signal(t, String.t(), timeout) :: :ok | {:error, Error.t()}
  def signal(worker, name, timeout \\ 30_000) do
    with {:ok, _} <- ask(worker, "signal", %{"signal" => name}, timeout), do: :ok
  end

  @doc "Lets a guarded worker live on, unguarded. This process ends."
  @spec release(t, timeout) :: :ok | {:error, Error.t()}
  def release(worker, timeout \\ 30_000) do
    with {:ok, _} <- ask(worker, "release", %{}, timeout) do
      # Its last record may have ended the process before.
      _ = call(worker, :released, 5000)
      :ok
    end
  end

  @doc "What is known of the worker."
  @spec info(t) :: {:ok, map} | {:error, Error.t()}
  def info(worker), do: call(worker, :info, 5000)

  defp ask(worker, method, params, timeout) do
    with {:ok, %{pool: pool, worker_id: id}} <- info(worker) do
      Pool.request(pool, method, Map.put(params, "worker_id", id), timeout)
    end
  end

  defp call(worker, message, timeout) do
    GenServer.call(worker, message, timeout)
  catch
    :exit, {:timeout, _} ->
      {:error, %Error{reason: :deadline, message: "no answer within #{timeout} ms"}}

    :exit, {{:worker, cause, status}, _} ->
      {:error,
       %Error{reason: :ended, message: "the worker has ended", exit: %Exit{cause: cause, status: status}}}

    :exit, _ ->
      {:error, %Error{reason: :ended, message: "the worker has ended"}}
  end

  # The process

  @impl true
  def init(options) do
    # terminate/2 ends the worker
    Process.flag(:trap_exit, true)
    began = System.monotonic_time()
    pool = Keyword.get(options, :pool, Pool)
    flags = Keyword.drop(options, @options)

    {method, params} =
      case {options[:argv], options[:guard]} do
        {[_ | _] = argv, nil} -> {"run", %{"argv" => argv}}
        {nil, pid} when is_integer(pid) -> {"guard", %{"pid" => pid}}
        _ -> raise ArgumentError, "give :argv, a list of strings, or :guard, a process ID"
      end

    with pid when is_pid(pid) <- GenServer.whereis(pool),
         monitor = Process.monitor(pid),
         {:ok, told} <-
           Pool.begin(pid, method, Map.merge(params, Pool.parameters(flags)), self(), options[:timeout]) do
      state = %{
        pool: pid,
        monitor: monitor,
        id: told["worker_id"],
        os_pid: told["pid"],
        containment: told["containment"],
        run_id: told["run_id"],
        notify: options[:notify],
        stop_timeout: Keyword.get(options, :stop_timeout, 60_000),
        began: System.monotonic_time(),
        ready: false,
        restarts: 0,
        told: %{},
        exit: nil,
        waiting: [],
        stopping: []
      }

      measured = %{system_time: System.system_time(), duration: state.began - began}
      emit(state, :start, measured, %{containment: state.containment})
      {:ok, state}
    else
      nil -> {:stop, %Error{reason: :pool_died, message: "there is no pool #{inspect(pool)}"}}
      {:error, error} -> {:stop, error}
    end
  end

  @impl true
  def handle_call(:info, _from, state) do
    facts = Map.take(state, [:pool, :os_pid, :containment, :run_id, :restarts, :ready])
    {:reply, {:ok, Map.put(facts, :worker_id, state.id)}, state}
  end

  def handle_call(:await_ready, _from, %{ready: true} = state), do: {:reply, :ok, state}
  def handle_call(:await_ready, from, state), do: {:noreply, %{state | waiting: [from | state.waiting]}}

  def handle_call({:stop, params, timeout}, from, state) do
    Pool.ask_later(state.pool, "stop", Map.put(params, "worker_id", state.id), timeout, :stop)
    {:noreply, %{state | stopping: [from | state.stopping]}}
  end

  def handle_call(:released, from, state) do
    GenServer.reply(from, :ok)
    finish(%{state | stopping: [:nobody | state.stopping]}, %{"outcome" => "released"})
  end

  @impl true
  def handle_info({:leash_pool, pool, message}, %{pool: pool} = state), do: told(message, state)

  def handle_info({:DOWN, monitor, :process, _, _}, %{monitor: monitor} = state) do
    end_with(state, %Exit{cause: :pool_died}, {:worker, :pool_died, nil})
  end

  def handle_info({:EXIT, _, reason}, state), do: {:stop, reason, state}
  def handle_info(_, state), do: {:noreply, state}

  defp told({:output, _, _} = output, state) do
    notify(state, output)
    {:noreply, state}
  end

  defp told({:answer, :stop, {:ok, answer}}, state), do: finish(state, answer)

  # It had ended by itself; its last record tells how.
  defp told({:answer, :stop, {:error, %Error{code: @no_such_worker}}}, state), do: finish(state, %{})

  defp told({:answer, :stop, {:error, _} = error}, state) do
    for from <- state.stopping, do: reply(from, error)
    {:noreply, %{state | stopping: []}}
  end

  defp told({:record, %{"event" => event} = record}, state), do: record(event, record, state)
  defp told(_, state), do: {:noreply, state}

  defp record("process.started", record, state) do
    {:noreply, %{state | os_pid: record["process.pid"] || state.os_pid, told: %{}}}
  end

  defp record("process.ready", _, state) do
    for from <- state.waiting, do: GenServer.reply(from, :ok)
    notify(state, :ready)
    if not state.ready, do: emit(state, :ready, %{duration: System.monotonic_time() - state.began}, %{})
    {:noreply, %{state | ready: true, waiting: []}}
  end

  defp record("heartbeat.timeout", record, state) do
    silence = record["silence_ms"] || 0
    notify(state, {:hang, %{missed: record["missed"], silence_ms: silence}})
    emit(state, :hang, %{silence: native(silence)}, %{missed: record["missed"]})
    {:noreply, state}
  end

  defp record("process.restarting", record, state) do
    delay = record["delay_ms"] || 0
    notify(state, {:restart, %{attempt: record["attempt"], delay_ms: delay}})
    emit(state, :restart, %{delay: native(delay)}, %{attempt: record["attempt"]})
    {:noreply, %{state | restarts: record["attempt"] || state.restarts}}
  end

  defp record(event, record, state) when event in ["process.terminated", "process.cleanup_completed"] do
    {:noreply, %{state | told: Map.merge(state.told, record)}}
  end

  # Without a cleanup nothing was ended: it was released.
  defp record("watchdog.stopped", %{"outcome" => "signalled"}, %{told: told} = state)
       when not is_map_key(told, "survivors"),
       do: finish(state, %{"outcome" => "released"})

  defp record("watchdog.stopped", record, state), do: finish(state, record)
  defp record(_, _, state), do: {:noreply, state}

  defp finish(state, last) do
    ended = Exit.from(Map.merge(state.told, last))
    wanted = state.stopping != [] or ended.cause == :released
    reason = if wanted, do: :normal, else: {:worker, ended.cause, ended.status}
    end_with(state, ended, reason)
  end

  defp end_with(state, ended, reason) do
    early = {:error, %Error{reason: :ended, message: "the worker ended before it was ready", exit: ended}}
    for from <- state.waiting, do: GenServer.reply(from, early)
    pool_died = {:error, %Error{reason: :pool_died, message: "the pool has ended"}}
    answer = if ended.cause == :pool_died, do: pool_died, else: {:ok, ended}
    for from <- state.stopping, do: reply(from, answer)
    {:stop, reason, told_end(state, ended)}
  end

  defp told_end(state, ended) do
    notify(state, {:exit, ended})
    measured = %{duration: System.monotonic_time() - state.began}
    emit(state, :stop, measured, %{cause: ended.cause, status: ended.status, exit: ended})
    %{state | exit: ended}
  end

  defp reply(:nobody, _), do: :ok
  defp reply(from, answer), do: GenServer.reply(from, answer)

  # The end of this process ends the worker. (When it is killed, the pool does.)
  @impl true
  def terminate(_reason, %{exit: nil} = state) do
    case Pool.request(state.pool, "stop", %{"worker_id" => state.id}, state.stop_timeout) do
      {:ok, answer} -> told_end(state, Exit.from(Map.merge(state.told, answer)))
      {:error, _} -> :ok
    end
  end

  def terminate(_reason, _state), do: :ok

  defp notify(%{notify: nil}, _), do: :ok
  defp notify(state, message), do: send(state.notify, {:leash, self(), message})

  defp emit(state, event, measurements, metadata) do
    facts = %{worker_id: state.id, os_pid: state.os_pid, run_id: state.run_id, worker: self()}
    Telemetry.emit(event, measurements, Map.merge(facts, metadata))
  end

  defp native(milliseconds), do: System.convert_time_unit(milliseconds, :millisecond, :native)
end
