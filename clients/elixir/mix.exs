defmodule Leash.MixProject do
  use Mix.Project

  def project do
    [
      app: :leash,
      version: "0.1.0",
      elixir: "~> 1.14",
      description: "Workers that never outlive the BEAM, over watchdog pool",
      elixirc_paths: if(Mix.env() == :test, do: ["lib", "test/support"], else: ["lib"]),
      package: [licenses: ["Apache-2.0"], links: %{}],
      docs: [main: "readme", extras: ["README.md"]],
      deps: []
    ]
  end

  # telemetry is no dependency: its events are emitted where it is loaded.
  def application, do: [extra_applications: [:logger]]
end
