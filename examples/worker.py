"""The worker of the examples: it says READY, and then it just lives."""

import threading

print("READY", flush=True)
threading.Event().wait()
