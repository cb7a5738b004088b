# The tests wait for handles and messages, with a deadline that is far more than needed.
ExUnit.start(capture_log: true, timeout: 300_000)
