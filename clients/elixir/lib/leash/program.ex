defmodule Leash.Program do
  @moduledoc false
  # Where the programs are, and the call of the reaper.

  require Logger
  alias Leash.Error

  @checkout Path.expand("../../../..", __DIR__)

  @doc "The path of a program: as given, by its variable, beside this package, in PATH."
  @spec find(String.t(), Path.t() | nil) :: {:ok, Path.t()} | {:error, Error.t()}
  def find(name, given) do
    variable = "LEASH_#{String.upcase(name)}"

    case {given, System.get_env(variable, "")} do
      {nil, ""} -> search(name, variable)
      {nil, path} -> check(path, variable)
      {path, _} -> check(path, "the option :#{name}")
    end
  end

  defp check(path, from) do
    # With a slash in it, this is a test of the file alone.
    case System.find_executable(Path.expand(path)) do
      nil -> error("#{from} names #{path}, which is no program that can be executed")
      found -> {:ok, found}
    end
  end

  # Debian has other programs of the short names, so the long ones go first.
  defp search(name, variable) do
    names = ["leash-#{name}", name]
    beside = for folder <- beside(), file <- names, do: Path.join(folder, file)

    found =
      Enum.find_value(beside, &System.find_executable/1) || Enum.find_value(names, &System.find_executable/1)

    if found do
      {:ok, found}
    else
      error(
        "leash-#{name} is neither beside this package nor in PATH: install it, or set #{variable} to its path"
      )
    end
  end

  defp beside do
    priv =
      case :code.priv_dir(:leash) do
        {:error, _} -> []
        folder -> [Path.join(to_string(folder), "bin")]
      end

    if File.dir?(Path.join(@checkout, "cmd/watchdog")), do: priv ++ [Path.join(@checkout, "bin")], else: priv
  end

  @doc "Ends what dead runs left. Survivors are a warning, a reaper that failed is an error."
  @spec reap(Path.t(), [{charlist, charlist | false}], timeout) :: :ok | {:error, Error.t()}
  def reap(program, env, timeout) do
    options = [:binary, :exit_status, :stderr_to_stdout, :hide, env: env, line: 4096]
    port = Port.open({:spawn_executable, program}, options)
    ended(port, program, "", System.monotonic_time(:millisecond) + timeout, timeout)
  end

  defp ended(port, program, said, until, timeout) do
    receive do
      {^port, {:data, {_, line}}} ->
        ended(port, program, line, until, timeout)

      {^port, {:exit_status, 0}} ->
        :ok

      {^port, {:exit_status, 1}} ->
        Logger.warning("reaper: something survived: #{said}")

      {^port, {:exit_status, status}} ->
        error("#{program} failed with status #{status}: #{said}")
    after
      max(0, until - System.monotonic_time(:millisecond)) ->
        Port.close(port)
        {:error, %Error{reason: :deadline, message: "#{program} did not end within #{timeout} ms"}}
    end
  end

  @doc false
  def error(message), do: {:error, %Error{reason: :program, message: message}}
end
