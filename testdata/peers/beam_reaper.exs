# A BEAM node that clears away what dead runs left before it starts workers:
# elixir beam_reaper.exs REAPER FILE and then the arguments of beam_parent.exs
#
# The report goes to the file, and "REAPED STATUS" to standard output. The node
# goes on after a line on standard input.

[reaper, file | rest] = System.argv()
{_, status} = System.cmd("sh", ["-c", ~s(exec "$0" --json >"$1"), reaper, file])
IO.puts("REAPED #{status}")
IO.gets("")
System.argv(rest)
Code.require_file("beam_parent.exs", __DIR__)
