defmodule Leash.Telemetry do
  @moduledoc """
  The events of workers, for `:telemetry` where it is loaded. Times are in native units.

  | event | measurements | metadata besides `worker_id`, `os_pid`, `run_id`, `worker` |
  |---|---|---|
  | `[:leash, :worker, :start]` | `system_time`, `duration` (of the start) | `containment` |
  | `[:leash, :worker, :ready]` | `duration` (since the start) | |
  | `[:leash, :worker, :hang]` | `silence` | `missed` |
  | `[:leash, :worker, :restart]` | `delay` | `attempt` |
  | `[:leash, :worker, :stop]` | `duration` (since the start) | `cause`, `status`, `exit` |
  """

  @type event :: :start | :ready | :hang | :restart | :stop

  @doc false
  @spec emit(event, map, map) :: :ok
  def emit(event, measurements, metadata) do
    if Code.ensure_loaded?(:telemetry) do
      apply(:telemetry, :execute, [[:leash, :worker, event], measurements, metadata])
    end

    :ok
  end
end
