defmodule Leash.Pool do
  @moduledoc """
  One `watchdog pool`: a child of your supervision tree, before the workers.

      children = [
        {Leash.Pool, name: MyApp.Pool, reaper: true},
        {Leash.Worker, pool: MyApp.Pool, argv: ["python3", "worker.py"], heartbeat: "notify"}
      ]

      Supervisor.start_link(children, strategy: :rest_for_one)

  The end of this process, of the BEAM, or of the watchdog is the end of every worker. When the watchdog
  dies, this process exits with `{:leash_pool, :died, status}` and each `Leash.Worker` with
  `{:worker, :pool_died, nil}`; the supervisor starts new ones.

  ## Options

    * `:name` - of the process
    * `:watchdog` - the path of the program; else `LEASH_WATCHDOG`, beside this package, `PATH`
    * `:reaper` - `true`, or a path: call the reaper before the pool is started
    * `:run_id` - else a new one
    * `:parent_pids` - more processes whose death is the parent's
    * `:env` - a map or list, added to the environment of the pool; `nil` removes
    * `:cwd` - the folder of the pool
    * `:timeout` - the deadline of each call in milliseconds, 30000
    * `:start_timeout` - until the pool must have started, 30000
    * `:close_timeout` - for the end of all workers when this process ends, 10000. At the deadline the
      pipe is closed, and the watchdog ends them alone
    * `:subscriber` - a process that gets each record as `{:leash_event, pool, record}`
    * any other option is a flag for all workers: `grace: 5000`, `heartbeat: "notify"`. Durations are
      milliseconds, or strings as on the command line
  """

  use GenServer, shutdown: 20_000
  require Logger
  alias Leash.{Error, JSON, Program}

  @options ~w(name watchdog reaper run_id parent_pids env cwd timeout start_timeout close_timeout subscriber)a
  @durations ~w(grace poll_interval heartbeat_interval heartbeat_timeout startup_timeout)a
  @longest 1_048_576
  @taken -32_002

  @type t :: GenServer.server()
  @type result(value) :: {:ok, value} | {:error, Error.t()}

  @doc "Starts the watchdog, and returns once it runs."
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options \\ []) do
    GenServer.start_link(__MODULE__, options, Keyword.take(options, [:name]) ++ [timeout: :infinity])
  end

  @doc "The run's ID, the watchdog's version and process ID."
  @spec info(t) :: result(%{run_id: String.t(), version: String.t(), os_pid: pos_integer})
  def info(pool), do: ask(pool, :info, 5000)

  @doc "The pool's own table of its workers, as the protocol has it."
  @spec list(t, timeout) :: result([map])
  def list(pool, timeout \\ 30_000) do
    with {:ok, %{"workers" => workers}} <- request(pool, "list", %{}, timeout), do: {:ok, workers}
  end

  @doc "Ends every worker; the pool goes on. Options: `:grace`, `:timeout` (60000)."
  @spec stop_all(t, keyword) :: result(%{ended: non_neg_integer, survivors: non_neg_integer})
  def stop_all(pool, options \\ []) do
    {timeout, flags} = Keyword.pop(options, :timeout, 60_000)

    with {:ok, answer} <- request(pool, "stop_all", parameters(flags), timeout) do
      {:ok, %{ended: answer["ended"], survivors: answer["survivors"]}}
    end
  end

  @doc false
  @spec request(t, String.t(), map, timeout) :: result(map)
  def request(pool, method, params, timeout), do: ask(pool, {:request, method, params, timeout}, timeout)

  @doc false
  @spec begin(t, String.t(), map, pid, timeout | nil) :: result(map)
  def begin(pool, method, params, worker, timeout) do
    ask(pool, {:begin, method, params, worker, timeout}, timeout || 30_000)
  end

  # The answer comes as {:leash_pool, pool, {:answer, tag, result}}.
  @doc false
  def ask_later(pool, method, params, timeout, tag) do
    GenServer.cast(pool, {:later, method, params, timeout, {self(), tag}})
  end

  # The pool itself keeps the deadline. Beyond it, it does not run.
  defp ask(pool, message, timeout) do
    GenServer.call(pool, message, timeout + 5000)
  catch
    :exit, {:timeout, _} -> {:error, %Error{reason: :deadline, message: "the pool's process does not answer"}}
    :exit, _ -> {:error, died("the pool has ended")}
  end

  @doc false
  def parameters(flags) do
    for {name, value} <- flags, value != nil, into: %{}, do: {Atom.to_string(name), value(name, value)}
  end

  defp value(name, value) when name in @durations and is_integer(value), do: "#{value}ms"
  defp value(:env, env), do: Map.new(env, fn {name, value} -> {to_string(name), value} end)
  defp value(_, {:file, path}), do: %{"file" => Path.expand(path)}
  defp value(_, value) when is_atom(value) and not is_boolean(value), do: Atom.to_string(value)
  defp value(_, value), do: value

  # Starting

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)

    with {:ok, program} <- Program.find("watchdog", options[:watchdog]),
         :ok <- reap(options),
         {:ok, state} <- open(program, options) do
      {:ok, state}
    else
      {:error, error} -> {:stop, error}
    end
  end

  defp reap(options) do
    case options[:reaper] do
      none when none in [nil, false] ->
        :ok

      given ->
        with {:ok, program} <- Program.find("reaper", if(given == true, do: nil, else: given)) do
          Program.reap(program, env(options), Keyword.get(options, :timeout, 30_000))
        end
    end
  end

  defp open(program, options) do
    settings =
      [:binary, :exit_status, :hide, env: env(options), args: arguments(options), line: 65_536] ++
        if(options[:cwd], do: [cd: options[:cwd]], else: [])

    port = Port.open({:spawn_executable, program}, settings)

    state = %{
      port: port,
      pieces: [],
      queue: :queue.new(),
      calls: %{},
      workers: %{},
      monitors: %{},
      next: 1,
      facts: %{},
      timeout: Keyword.get(options, :timeout, 30_000),
      close_timeout: Keyword.get(options, :close_timeout, 10_000),
      subscriber: options[:subscriber]
    }

    timeout = Keyword.get(options, :start_timeout, 30_000)
    await_start(state, program, System.monotonic_time(:millisecond) + timeout, timeout)
  rescue
    error in ErlangError -> Program.error("#{program} cannot be executed: #{inspect(error.original)}")
  end

  defp await_start(%{port: port} = state, program, until, timeout) do
    receive do
      {^port, {:data, data}} ->
        case data(data, state) do
          {:ok, %{facts: facts} = state} when facts != %{} -> {:ok, state}
          {:ok, state} -> await_start(state, program, until, timeout)
          {:error, why} -> Program.error("#{program}: #{why}")
        end

      {^port, {:exit_status, status}} ->
        Program.error("#{program} pool ended with status #{status} before it had started")
    after
      max(0, until - System.monotonic_time(:millisecond)) ->
        Port.close(port)
        {:error, %Error{reason: :deadline, message: "#{program} did not start a pool within #{timeout} ms"}}
    end
  end

  defp arguments(options) do
    pids = [System.pid() | Enum.map(options[:parent_pids] || [], &to_string/1)]
    # A port is started by a helper process of the BEAM, so the parent has to be named.
    parents = Enum.flat_map(pids, &["--parent-pid", &1])
    run_id = if options[:run_id], do: ["--run-id", options[:run_id]], else: []
    flags = options |> Keyword.drop(@options) |> parameters()

    ["pool" | parents] ++
      run_id ++ for {name, value} <- flags, do: "--#{String.replace(name, "_", "-")}=#{value}"
  end

  defp env(options) do
    for {name, value} <- options[:env] || [] do
      {to_charlist(name), if(value == nil, do: false, else: to_charlist(value))}
    end
  end

  # Calls

  @impl true
  def handle_call(:info, _from, state) do
    {:os_pid, os_pid} = Port.info(state.port, :os_pid) || {:os_pid, nil}
    facts = %{run_id: state.facts["leash.run_id"], version: state.facts["version"], os_pid: os_pid}
    {:reply, {:ok, facts}, state}
  end

  def handle_call({:request, method, params, timeout}, from, state) do
    {:noreply, send_request(state, method, params, timeout, from, nil)}
  end

  def handle_call({:begin, method, params, worker, timeout}, from, state) do
    id = params["worker_id"] || free_id(state)

    if is_map_key(state.workers, id) do
      message = "the worker ID #{id} is taken: its worker has not ended"
      {:reply, {:error, %Error{reason: :refused, code: @taken, message: message}}, state}
    else
      monitor = Process.monitor(worker)
      entry = %{pid: worker, monitor: monitor, begun: false}
      state = put_in(state.workers[id], entry)
      state = put_in(state.monitors[monitor], id)
      params = Map.put(params, "worker_id", id)
      {:noreply, send_request(state, method, params, timeout || state.timeout, from, id)}
    end
  end

  @impl true
  def handle_cast({:later, method, params, timeout, to}, state) do
    {:noreply, send_request(state, method, params, timeout, {:later, to}, nil)}
  end

  defp free_id(state) do
    Enum.find_value(Stream.iterate(state.next, &(&1 + 1)), fn n ->
      if not is_map_key(state.workers, "w#{n}"), do: "w#{n}"
    end)
  end

  # `begins` is the worker's ID of a run or guard.
  defp send_request(state, method, params, timeout, from, begins) do
    id = state.next
    line = IO.iodata_to_binary([JSON.encode(%{jsonrpc: "2.0", id: id, method: method, params: params}), ?\n])

    if byte_size(line) > @longest do
      answer(from, {:error, %Error{reason: :refused, message: "#{method}: the request is longer than 1 MiB"}})
      forget(state, begins)
    else
      timer = Process.send_after(self(), {:deadline, id}, timeout)
      call = %{from: from, timer: timer, begins: begins, method: method, timeout: timeout}
      write(%{put_in(state.calls[id], call) | next: id + 1}, line)
    end
  rescue
    # What cannot be encoded is the caller's mistake, and no other worker's end.
    error ->
      answer(from, {:error, %Error{reason: :refused, message: "#{method}: #{Exception.message(error)}"}})
      forget(state, begins)
  end

  defp answer(nil, _), do: :ok
  defp answer({:later, {pid, tag}}, result), do: send(pid, {:leash_pool, self(), {:answer, tag, result}})
  defp answer(from, result), do: GenServer.reply(from, result)

  # A pool that does not read must not hold up this process.
  defp write(state, line) do
    if :queue.is_empty(state.queue) and Port.command(state.port, line, [:nosuspend]) do
      state
    else
      if :queue.is_empty(state.queue), do: Process.send_after(self(), :flush, 10)
      %{state | queue: :queue.in(line, state.queue)}
    end
  rescue
    ArgumentError -> state
  end

  defp flush(state) do
    case :queue.peek(state.queue) do
      :empty ->
        state

      {:value, line} ->
        if Port.command(state.port, line, [:nosuspend]) do
          flush(%{state | queue: :queue.drop(state.queue)})
        else
          Process.send_after(self(), :flush, 10)
          state
        end
    end
  rescue
    ArgumentError -> state
  end

  # What the watchdog says

  @impl true
  def handle_info({port, {:data, data}}, %{port: port} = state) do
    case data(data, state) do
      {:ok, state} ->
        {:noreply, state}

      {:error, why} ->
        Logger.error("leash: #{why}")
        {:stop, {:leash_pool, :died, nil}, state}
    end
  end

  def handle_info({port, {:exit_status, status}}, %{port: port} = state), do: over(status, state)
  def handle_info({:EXIT, port, _}, %{port: port} = state), do: over(nil, state)
  def handle_info({:EXIT, _, reason}, state), do: {:stop, reason, state}
  def handle_info(:flush, state), do: {:noreply, flush(state)}

  def handle_info({:deadline, id}, state) do
    case state.calls do
      %{^id => call} ->
        message = "#{call.method} was not answered within #{call.timeout} ms"
        answer(call.from, {:error, %Error{reason: :deadline, message: message}})
        # What it starts later is ended: see result/3.
        {:noreply, put_in(state.calls[id], %{call | from: nil}) |> orphan(call.begins)}

      _ ->
        {:noreply, state}
    end
  end

  # The process of a worker has ended: so does the worker.
  def handle_info({:DOWN, monitor, :process, _, _}, state) do
    case state.monitors do
      %{^monitor => id} -> {:noreply, abandon(state, id)}
      _ -> {:noreply, state}
    end
  end

  def handle_info(_, state), do: {:noreply, state}

  defp over(status, state) do
    state = %{state | port: nil}
    error = died("watchdog pool ended with status #{inspect(status)}")
    for {_, call} <- state.calls, do: answer(call.from, {:error, error})
    {:stop, {:leash_pool, :died, status}, %{state | calls: %{}}}
  end

  defp died(message), do: %Error{reason: :pool_died, message: message}

  defp abandon(state, id) do
    entry = state.workers[id]
    state = orphan(state, id)
    if entry.begun, do: send_request(state, "stop", %{worker_id: id}, state.timeout, nil, nil), else: state
  end

  # Nobody is told of it any more, but its ID is taken until it has ended.
  defp orphan(state, id) do
    case state.workers do
      %{^id => entry} ->
        Process.demonitor(entry.monitor, [:flush])
        %{put_in(state.workers[id].pid, nil) | monitors: Map.delete(state.monitors, entry.monitor)}

      _ ->
        state
    end
  end

  defp forget(state, id) do
    state = orphan(state, id)
    %{state | workers: Map.delete(state.workers, id)}
  end

  defp data({:noeol, piece}, state), do: {:ok, %{state | pieces: [state.pieces | piece]}}

  defp data({:eol, piece}, state) do
    line = if state.pieces == [], do: piece, else: IO.iodata_to_binary([state.pieces | piece])

    case JSON.decode(line) do
      {:ok, %{} = message} -> {:ok, message(message, %{state | pieces: []})}
      _ -> {:error, "the watchdog wrote what is no message: #{inspect(String.slice(line, 0, 200))}"}
    end
  end

  defp message(%{"method" => "output", "params" => output}, state) do
    tell(state, output["worker_id"], {:output, stream(output["stream"]), output["line"]})
    state
  end

  defp message(%{"method" => "event", "params" => record}, state) do
    if state.subscriber, do: send(state.subscriber, {:leash_event, self(), record})
    id = record["leash.worker_id"]
    tell(state, id, {:record, record})
    state = if record["lost_records"], do: compare(state), else: state

    case record["event"] do
      "pool.started" -> %{state | facts: record}
      "watchdog.stopped" when id != nil -> forget(state, id)
      _ -> state
    end
  end

  defp message(%{"id" => id} = message, state) when id != nil do
    case Map.pop(state.calls, id) do
      {nil, _} ->
        state

      {call, calls} ->
        Process.cancel_timer(call.timer)
        result(%{state | calls: calls}, call, message)
    end
  end

  defp message(%{"error" => %{"message" => why}}, state) do
    Logger.warning("watchdog pool: #{why}")
    state
  end

  defp message(_, state), do: state

  defp result(state, call, %{"error" => error}) do
    known = %Error{reason: :refused, code: error["code"], message: error["message"], data: error["data"]}
    answer(call.from, {:error, known})
    forget(state, call.begins)
  end

  defp result(state, %{begins: nil} = call, %{"result" => result}) do
    if call.from == :compare, do: compared(state, result), else: answer(call.from, {:ok, result})
    state
  end

  defp result(state, %{begins: id} = call, %{"result" => result}) do
    case state.workers do
      %{^id => %{pid: nil}} ->
        answer(call.from, {:error, %Error{reason: :deadline, message: "worker #{id} was given up"}})
        send_request(put_in(state.workers[id].begun, true), "stop", %{worker_id: id}, state.timeout, nil, nil)

      %{^id => _} ->
        answer(call.from, {:ok, Map.put(result, "run_id", state.facts["leash.run_id"])})
        put_in(state.workers[id].begun, true)

      _ ->
        # It has ended meanwhile, and its process has been told how.
        answer(call.from, {:ok, Map.put(result, "run_id", state.facts["leash.run_id"])})
        state
    end
  end

  # An end may be among the records that were lost: the pool's table tells.
  defp compare(state), do: send_request(state, "list", %{}, state.timeout, :compare, nil)

  defp compared(state, %{"workers" => workers}) do
    living = MapSet.new(workers, & &1["worker_id"])

    for {id, %{begun: true}} <- state.workers, id not in living do
      tell(state, id, {:record, %{"event" => "watchdog.stopped", "outcome" => "unknown"}})
    end
  end

  defp tell(state, id, what) do
    case state.workers do
      %{^id => %{pid: pid}} when pid != nil -> send(pid, {:leash_pool, self(), what})
      _ -> :ok
    end
  end

  defp stream("stderr"), do: :stderr
  defp stream(_), do: :stdout

  # The end

  @impl true
  def terminate(_reason, %{port: nil}), do: :ok

  def terminate(_reason, state) do
    line = [JSON.encode(%{jsonrpc: "2.0", method: "shutdown", params: %{}}), ?\n]

    # Where the pool does not read, the end of its input must do.
    if Port.command(state.port, line, [:nosuspend]) do
      await_end(state.port, System.monotonic_time(:millisecond) + state.close_timeout)
    end

    Port.close(state.port)
    :ok
  rescue
    ArgumentError -> :ok
  end

  defp await_end(port, until) do
    receive do
      {^port, {:exit_status, _}} -> :ok
      {:EXIT, ^port, _} -> :ok
      {^port, {:data, _}} -> await_end(port, until)
    after
      max(0, until - System.monotonic_time(:millisecond)) -> :ok
    end
  end
end
