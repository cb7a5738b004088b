# Stands for the library of that name, which is no dependency.
defmodule :telemetry do
  def execute(event, measurements, metadata) do
    if to = Process.whereis(Leash.TelemetryTest), do: send(to, {event, measurements, metadata})
    :ok
  end
end

defmodule Leash.TelemetryTest do
  use ExUnit.Case
  alias Leash.{Pool, Processes, Worker}

  @patience Processes.patience()

  test "a life that ends in a hang" do
    Process.flag(:trap_exit, true)
    Process.register(self(), __MODULE__)
    pool = start_supervised!({Pool, timeout: @patience})
    beats = [heartbeat: "notify", heartbeat_interval: 100, heartbeat_timeout: 500]
    {:ok, worker} = Worker.start_link([pool: pool, argv: ["python3", Processes.worker(), "hang"]] ++ beats)

    assert_receive {[:leash, :worker, :start], %{system_time: _, duration: duration},
                    %{worker: ^worker} = facts}

    assert duration > 0 and facts.os_pid > 0 and is_binary(facts.worker_id) and is_binary(facts.run_id)
    assert_receive {[:leash, :worker, :ready], %{duration: _}, %{worker: ^worker}}, @patience
    assert_receive {[:leash, :worker, :hang], %{silence: silence}, %{missed: _}}, @patience
    assert System.convert_time_unit(silence, :native, :millisecond) > 0
    assert_receive {[:leash, :worker, :stop], %{duration: _}, %{cause: :hung, status: _, exit: _}}, @patience
  end

  test "a restart, and a stop that was asked for" do
    Process.register(self(), __MODULE__)
    pool = start_supervised!({Pool, timeout: @patience})
    once = "test -e \"$0\" || { : >\"$0\"; exit 1; }; exec sleep 1000000"
    file = Path.join(System.tmp_dir!(), "leash-#{System.unique_integer([:positive])}-#{System.pid()}")
    on_exit(fn -> File.rm(file) end)
    {:ok, worker} = Worker.start_link(pool: pool, argv: ["sh", "-c", once, file], restart: "on-failure")
    assert_receive {[:leash, :worker, :restart], %{delay: delay}, %{attempt: 1}}, @patience
    assert delay > 0
    {:ok, _} = Worker.stop(worker)
    assert_received {[:leash, :worker, :stop], _, %{cause: :asked}}
  end
end
