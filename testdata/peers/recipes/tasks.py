"""Tasks of celery, by a broker made of files. Each says that it has begun, and
is done when somebody opens its gate, a FIFO."""

from celery import Celery

app = Celery("tasks", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": "queue",
    "data_folder_out": "queue",
    "processed_folder": "queue",
}


@app.task
def wait_for(gate: str) -> str:
    """Wait until the gate was opened and closed again."""
    print(f"BEGUN {gate}", flush=True)
    with open(gate, encoding="ascii") as fifo:
        return fifo.read()
