"""Huey: it deletes a task when it claims it, so what it does is at most once, with one commit per task."""

import logging
import sys
import threading
import time

import huey

from peer import COUNT, FOLDER, PAYLOAD, URL, WORK, Drained, pace, produce, say_latencies

logging.getLogger("huey").setLevel(logging.CRITICAL)
BACKENDS = {
    "sqlite": lambda: huey.SqliteHuey("q", filename=f"{FOLDER}/huey.db", fsync=True, results=False),
    "memory": lambda: huey.MemoryHuey("q", results=False),
    "redis": lambda: huey.RedisHuey("q", url=URL, results=False),
    "postgres": lambda: huey.PostgresHuey("q", dsn=URL, results=False),
}
app = BACKENDS[sys.argv[2]]()
drained, lock, started = Drained(), threading.Lock(), {}


@app.task()
def noop(payload):
    with lock:
        drained.ran()


@app.task()
def stamp(number, payload):
    started[number] = time.monotonic()


def consume(workers):
    app.create_consumer(workers=workers, periodic=False, worker_type="thread").start()


if WORK == "W1":
    produce(lambda: noop(PAYLOAD))
elif WORK == "W3":
    message = app.serialize_task(noop.s(PAYLOAD))
    for _ in range(COUNT):
        app.storage.enqueue(message)
    consume(int(sys.argv[3]))
    while not drained.is_over():
        time.sleep(0.01)
    drained.say()
elif WORK == "W4":
    consume(1)
    time.sleep(1)
    say_latencies(pace(lambda number: stamp(number, PAYLOAD)), started)
