defmodule Leash.Exit do
  @moduledoc """
  How a worker ended.

  `cause` is one of the causes that docs/watchdog.md lists, `:pool_died` where nobody is left to tell.
  `status` is its exit status, or `{:signal, name}`.
  """

  defstruct cause: :unknown, status: nil, outcome: "unknown", survivors: nil, verified: nil, usage: %{}

  @type cause ::
          :exited
          | :signal
          | :core_dumped
          | :oom_killed
          | :memory_max
          | :hung
          | :not_ready
          | :asked
          | :parent_died
          | :released
          | :pool_died
          | :unknown
  @type status :: non_neg_integer | {:signal, String.t()} | nil
  @type t :: %__MODULE__{
          cause: cause,
          status: status,
          outcome: String.t(),
          survivors: non_neg_integer | nil,
          verified: boolean | nil,
          usage: %{optional(String.t()) => term}
        }

  @causes ~w(exited signal core_dumped oom_killed memory_max hung not_ready asked parent_died released)a
  @by_name Map.new(@causes, &{Atom.to_string(&1), &1})
  @by_outcome %{
    "heartbeat_timeout" => :hung,
    "startup_timeout" => :not_ready,
    "parent_died" => :parent_died,
    "signalled" => :asked,
    "released" => :released
  }

  @doc false
  @spec from(map) :: t
  def from(told) do
    status =
      case told do
        %{"signal" => name} when is_binary(name) -> {:signal, name}
        %{"exit_code" => code} -> code
        %{"process.exit.code" => code} -> code
        _ -> nil
      end

    outcome = Map.get(told, "outcome", "unknown")

    itself =
      case status do
        nil -> :unknown
        {:signal, _} -> :signal
        _ -> :exited
      end

    cause = @by_name[told["cause"]] || Map.get(@by_outcome, outcome, itself)
    usage = for {"usage." <> name, value} <- told, into: %{}, do: {name, value}

    %__MODULE__{
      cause: cause,
      status: status,
      outcome: outcome,
      survivors: told["survivors"],
      verified: told["verified"],
      usage: usage
    }
  end
end
