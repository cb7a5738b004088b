defmodule Leash.Error do
  @moduledoc """
  Why a call failed.

    * `:refused` - the pool refused it; `code` and `data` are JSON-RPC's
    * `:deadline` - it was not answered in time
    * `:pool_died` - the pool has ended, and with it every worker that it started
    * `:ended` - the worker ended before; `exit` says how
    * `:program` - the watchdog or the reaper is missing or failed
  """

  defexception [:reason, :message, :code, :data, :exit]

  @type reason :: :refused | :deadline | :pool_died | :ended | :program
  @type t :: %__MODULE__{
          reason: reason,
          message: String.t(),
          code: integer | nil,
          data: term,
          exit: Leash.Exit.t() | nil
        }
end
