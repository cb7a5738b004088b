defmodule Leash.Processes do
  @moduledoc false
  # Real processes whose end a test sees without asking for it: each holds a connection.

  def patience, do: 120_000
  def worker, do: Path.expand("../../examples/worker.py", __DIR__)
  def tree, do: Path.expand("../../../testdata/tree.py", __DIR__)

  @doc "A port to which processes connect. They end with the process that listens."
  def listen do
    {:ok, socket} = :gen_tcp.listen(0, [:binary, ip: {127, 0, 0, 1}, packet: :line, active: false])
    {:ok, port} = :inet.port(socket)
    {socket, Integer.to_string(port)}
  end

  @doc "The next processes that connect, as {name, pid, connection}."
  def accept({socket, _}, count) do
    for _ <- 1..count do
      {:ok, connection} = :gen_tcp.accept(socket, patience())
      {:ok, line} = :gen_tcp.recv(connection, 0, patience())
      [name, pid] = String.split(line)
      {name, String.to_integer(pid), connection}
    end
  end

  def await_gone(processes) do
    for {_, _, connection} <- processes, do: {:error, :closed} = :gen_tcp.recv(connection, 0, patience())
    :ok
  end

  def kill(pid, signal \\ "KILL"), do: {_, 0} = System.cmd("kill", ["-#{signal}", "#{pid}"])
end
