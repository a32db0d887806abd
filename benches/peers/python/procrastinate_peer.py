"""Procrastinate: a synchronous connector to defer, its asynchronous worker to run and to delete what succeeded."""

import asyncio
import logging
import sys
import threading
import time

import procrastinate
import psycopg

from peer import COUNT, PAYLOAD, URL, WORK, Drained, pace, produce, say_latencies

logging.getLogger("procrastinate").setLevel(logging.CRITICAL)
sync = procrastinate.App(connector=procrastinate.SyncPsycopgConnector(conninfo=URL))
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=URL, min_size=2))
drained, started = Drained(), {}


@app.task(name="noop")
async def run_noop(payload):
    drained.ran()


@app.task(name="stamp")
async def run_stamp(number, payload):
    started[number] = time.monotonic()


@sync.task(name="noop")
def noop(payload):
    pass


@sync.task(name="stamp")
def stamp(number, payload):
    pass


def work(workers):
    async def until_stopped():
        async with app.open_async():
            await app.run_worker_async(
                concurrency=workers, install_signal_handlers=False, delete_jobs="successful"
            )

    threading.Thread(target=lambda: asyncio.run(until_stopped()), daemon=True).start()


sync.open()
sync.schema_manager.apply_schema()
if WORK == "W1":
    produce(lambda: noop.defer(payload=PAYLOAD))
elif WORK == "W3":
    for _ in range(0, COUNT, 1000):
        noop.batch_defer(*[{"payload": PAYLOAD}] * min(1000, COUNT))
    psycopg.connect(URL, autocommit=True).execute("VACUUM ANALYZE procrastinate_jobs")
    work(int(sys.argv[2]))
    while not drained.is_over():
        time.sleep(0.01)
    drained.say()
elif WORK == "W4":
    work(1)
    time.sleep(2)
    say_latencies(pace(lambda number: stamp.defer(number=number, payload=PAYLOAD)), started)
