defmodule Leash.ScenesTest do
  # The six scenes of every client, and the pool's own death, with the real watchdog.
  use ExUnit.Case, async: true

  alias Leash.{Error, Exit, Pool, Processes, Worker}

  @beating [heartbeat: "notify", heartbeat_interval: 300, heartbeat_timeout: 60_000, max_missed: 200]
  @hanging [heartbeat: "notify", heartbeat_interval: 100, heartbeat_timeout: 500]
  @forever ["sleep", "1000000"]
  @patience Processes.patience()

  setup do
    Process.flag(:trap_exit, true)
    :ok
  end

  defp pool(options \\ []) do
    start_supervised!({Pool, [timeout: @patience, start_timeout: @patience, grace: 500] ++ options})
  end

  defp run(pool, argv, options \\ []) do
    {:ok, worker} = Worker.start_link([pool: pool, argv: argv] ++ options)
    worker
  end

  defp lines(worker, stream, found \\ []) do
    receive do
      {:leash, ^worker, {:output, ^stream, line}} -> lines(worker, stream, [line | found])
    after
      0 -> Enum.reverse(found)
    end
  end

  test "run: a worker has an ID, a process and a status" do
    pool = pool()
    worker = run(pool, ["sh", "-c", "exit 7"], worker_id: "seven")
    assert_receive {:EXIT, ^worker, {:worker, :exited, 7}}, @patience
    assert_received {:leash, ^worker, {:exit, %Exit{outcome: "worker_exited", survivors: 0}}}
    assert {:ok, []} = Pool.list(pool)
    assert {:ok, %{run_id: run_id}} = Pool.info(pool)
    assert run_id =~ ~r/^[0-9a-z]{7}$/
  end

  test "run: environment and folder are the worker's" do
    command = ["sh", "-c", "echo \"$GREETING ${HOME-none} $PWD\""]
    worker = run(pool(), command, env: %{"GREETING" => "hello", "HOME" => nil}, cwd: "/")
    assert_receive {:leash, ^worker, {:output, :stdout, "hello none /"}}, @patience
  end

  test "run: one that was killed says by which signal" do
    worker = run(pool(), @forever)
    assert :ok = Worker.signal(worker, "KILL")
    assert_receive {:EXIT, ^worker, {:worker, :signal, {:signal, signal}}}, @patience
    assert signal in ["KILL", "SIGKILL"]
  end

  test "ready: told when the worker says so" do
    worker = run(pool(), ["python3", Processes.worker()], @beating)
    assert :ok = Worker.await_ready(worker, @patience)
    assert_received {:leash, ^worker, :ready}
    assert {:ok, %{ready: true, os_pid: pid}} = Worker.info(worker)
    assert pid > 0
  end

  test "ready: an error where the worker ends before" do
    worker = run(pool(), @forever, @beating)
    waiting = Task.async(fn -> Worker.await_ready(worker, @patience) end)
    assert :ok = Worker.signal(worker, "KILL")
    assert {:error, %Error{reason: :ended}} = Task.await(waiting, @patience)
    assert_receive {:EXIT, ^worker, {:worker, :signal, _}}, @patience
  end

  test "output: every line of both streams, and the last without a line feed" do
    worker = run(pool(), ["sh", "-c", "seq 20000; echo wrong >&2; printf 'the last'"])
    assert_receive {:EXIT, ^worker, {:worker, :exited, 0}}, @patience
    lines = lines(worker, :stdout)
    assert length(lines) == 20_001
    assert hd(lines) == "1" and List.last(lines) == "the last"
    assert lines(worker, :stderr) == ["wrong"]
  end

  test "hang: told with its silence, ended with its cause" do
    worker = run(pool(), ["python3", Processes.worker(), "hang"], @hanging)
    assert_receive {:leash, ^worker, {:hang, %{silence_ms: silence}}}, @patience
    assert silence > 0
    assert_receive {:EXIT, ^worker, {:worker, :hung, _}}, @patience
    assert_received {:leash, ^worker, {:exit, %Exit{outcome: "heartbeat_timeout"}}}
  end

  test "stop: nothing of the tree is left when it answers" do
    net = {_, port} = Processes.listen()
    worker = run(pool(), ["python3", Processes.tree(), port])
    tree = Processes.accept(net, 2)
    assert {:ok, %Exit{cause: :asked, survivors: 0}} = Worker.stop(worker, grace: 200, timeout: @patience)
    Processes.await_gone(tree)
    assert_receive {:EXIT, ^worker, :normal}
    assert {:error, %Error{reason: :ended}} = Worker.stop(worker)
  end

  test "stop: a supervisor that ends ends the worker" do
    net = {_, port} = Processes.listen()
    children = [{Worker, pool: pool(), argv: ["python3", Processes.tree(), port]}]
    {:ok, supervisor} = Supervisor.start_link(children, strategy: :one_for_one)
    tree = Processes.accept(net, 2)
    Supervisor.stop(supervisor)
    Processes.await_gone(tree)
  end

  test "stop: a killed process takes its worker along" do
    net = {_, port} = Processes.listen()
    pool = pool()
    worker = run(pool, ["python3", Processes.tree(), port])
    tree = Processes.accept(net, 2)
    Process.exit(worker, :kill)
    assert_receive {:EXIT, ^worker, :killed}
    Processes.await_gone(tree)
    assert {:ok, %{survivors: 0}} = Pool.stop_all(pool)
    assert {:ok, []} = Pool.list(pool)
  end

  test "stop: of all, and the pool goes on" do
    pool = pool()
    [one, two] = for _ <- 1..2, do: run(pool, @forever)
    assert {:ok, %{ended: 2, survivors: 0}} = Pool.stop_all(pool, grace: "1s")
    assert_receive {:EXIT, ^one, {:worker, :asked, _}}, @patience
    assert_receive {:EXIT, ^two, {:worker, :asked, _}}, @patience
    last = run(pool, ["true"])
    assert_receive {:EXIT, ^last, {:worker, :exited, 0}}, @patience
  end

  test "the parent's SIGKILL leaves nothing" do
    net = {_, port} = Processes.listen()
    script = Path.expand("support/parent.exs", __DIR__)
    paths = Enum.flat_map(:code.get_path(), &["-pa", to_string(&1)])
    args = paths ++ [script, Processes.tree(), port, "3"]

    parent =
      Port.open({:spawn_executable, System.find_executable("elixir")}, [:binary, args: args, line: 999])

    assert_receive {^parent, {:data, {:eol, "STARTED"}}}, @patience
    processes = Processes.accept(net, 6)
    {:os_pid, pid} = Port.info(parent, :os_pid)
    Processes.kill(pid)
    Processes.await_gone(processes)
  end

  test "the end of the pool's process leaves nothing" do
    net = {_, port} = Processes.listen()
    {:ok, pool} = Pool.start_link(timeout: @patience)
    run(pool, ["python3", Processes.tree(), port])
    tree = Processes.accept(net, 2)
    Process.exit(pool, :kill)
    Processes.await_gone(tree)
  end

  test "the pool's SIGKILL is an error on every worker, and a new pool can be had" do
    net = {_, port} = Processes.listen()
    {:ok, pool} = Pool.start_link(timeout: @patience)
    workers = for _ <- 1..2, do: run(pool, ["python3", Processes.tree(), port])
    processes = Processes.accept(net, 4)
    {:ok, %{os_pid: pid}} = Pool.info(pool)
    Processes.kill(pid)

    for worker <- workers do
      assert_receive {:EXIT, ^worker, {:worker, :pool_died, nil}}, @patience
      assert_received {:leash, ^worker, {:exit, %Exit{cause: :pool_died}}}
    end

    assert_receive {:EXIT, ^pool, {:leash_pool, :died, _}}, @patience
    assert {:error, %Error{reason: :pool_died}} = Pool.list(pool)
    Processes.await_gone(processes)
    worker = run(pool(), ["true"])
    assert_receive {:EXIT, ^worker, {:worker, :exited, 0}}, @patience
  end

  test "a supervisor starts a new pool, and the workers anew" do
    net = {_, port} = Processes.listen()
    name = :"pool#{System.unique_integer([:positive])}"

    children = [
      {Pool, name: name, timeout: @patience, grace: 500},
      {Worker, pool: name, argv: ["python3", Processes.tree(), port]}
    ]

    {:ok, supervisor} = Supervisor.start_link(children, strategy: :rest_for_one)
    first = Processes.accept(net, 2)
    {:ok, %{os_pid: pid}} = Pool.info(name)
    Processes.kill(pid)
    Processes.await_gone(first)
    second = Processes.accept(net, 2)
    Supervisor.stop(supervisor)
    Processes.await_gone(second)
  end

  test "errors: what the pool refuses says why" do
    pool = pool()

    assert {:error, %Error{code: -32_003, data: %{"status" => 127}}} =
             Worker.start(pool: pool, argv: ["/no/such/program"])

    run(pool, @forever, worker_id: "one")
    assert {:error, %Error{code: -32_002}} = Worker.start(pool: pool, argv: ["true"], worker_id: "one")
    assert {:error, %Error{code: -32_602}} = Worker.start(pool: pool, argv: ["true"], worker_id: "no slash/")

    assert {:error, %Error{code: -32_602, message: why}} =
             Worker.start(pool: pool, argv: ["true"], gracee: "1s")

    assert why =~ "gracee"
    long = String.duplicate("x", 1_048_576)
    assert {:error, %Error{reason: :refused, message: why}} = Worker.start(pool: pool, argv: ["echo", long])
    assert why =~ "1 MiB"
    assert {:error, %Error{reason: :refused}} = Worker.start(pool: pool, argv: [<<255>>])
    assert {:ok, [%{"worker_id" => "one"}]} = Pool.list(pool)
  end

  test "errors: a call has a deadline, and what it started later is ended" do
    pool = pool(subscriber: self())
    {:ok, %{os_pid: pid}} = Pool.info(pool)
    Processes.kill(pid, "STOP")
    assert {:error, %Error{reason: :deadline}} = Worker.start(pool: pool, argv: @forever, timeout: 50)
    assert {:error, %Error{reason: :deadline}} = Pool.list(pool, 50)
    Processes.kill(pid, "CONT")
    assert_receive {:leash_event, ^pool, %{"event" => "watchdog.stopped"}}, @patience
    assert {:ok, []} = Pool.list(pool)
  end

  test "errors: a watchdog that is missing, or is something else" do
    assert {:error, %Error{message: why}} = Pool.start_link(watchdog: "/no/such/watchdog")
    assert why =~ "the option :watchdog names /no/such/watchdog"
    assert {:error, %Error{reason: :program}} = Pool.start_link(watchdog: "/bin/true")
    assert {:error, %Error{reason: :program}} = Pool.start_link(watchdog: "/bin/echo")
  end

  test "the reaper is called first if asked" do
    pool(reaper: true)
    assert {:error, %Error{message: why}} = Pool.start_link(reaper: "/no/such/reaper")
    assert why =~ "the option :reaper"
  end

  test "a worker of another's is guarded, released, and lives on" do
    # cat ends with the port, so that a failure leaves nothing.
    port = Port.open({:spawn_executable, System.find_executable("cat")}, [:exit_status])
    {:os_pid, pid} = Port.info(port, :os_pid)
    pool = pool()
    {:ok, guarded} = Worker.start_link(pool: pool, guard: pid)
    assert {:ok, %{os_pid: ^pid}} = Worker.info(guarded)
    assert :ok = Worker.release(guarded)
    assert_receive {:EXIT, ^guarded, :normal}, @patience
    refute_received {^port, {:exit_status, _}}
    {:ok, again} = Worker.start_link(pool: pool, guard: pid)
    assert {:ok, %Exit{cause: :asked}} = Worker.stop(again)
    assert_receive {^port, {:exit_status, 143}}, @patience
  end

  test "restarts are told" do
    worker = run(pool(), ["sh", "-c", "exit 1"], restart: "on-failure", max_restarts: 1)
    assert_receive {:leash, ^worker, {:restart, %{attempt: 1, delay_ms: delay}}}, @patience
    assert delay > 0
    assert_receive {:EXIT, ^worker, {:worker, :exited, 1}}, @patience
  end
end
