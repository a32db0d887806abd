"""What every Python peer shares: its arguments come from the environment, its figure goes to standard output."""

import json
import os
import sys
import time

WORK = sys.argv[1]
COUNT = int(os.environ["PEER_COUNT"])
SECONDS = float(os.environ["PEER_SECONDS"])
URL = os.environ.get("PEER_URL", "")
FOLDER = os.environ["PEER_FOLDER"]
PAYLOAD = "x" * 100
PAUSE = 0.05


def flushes():
    """Flush requests of the block device until now."""
    with open(os.environ["PEER_FLUSHES"]) as stat:
        return int(stat.read().split()[15])


def say(**figures):
    """Tells the figure, and ends at once: threads of a consumer would go on."""
    print(json.dumps(figures), flush=True)
    os._exit(0)


def produce(enqueue):
    """One task after the other, until all are done or the time is over."""
    before, start, done = flushes(), time.monotonic(), 0
    while done < COUNT and time.monotonic() - start < SECONDS:
        enqueue()
        done += 1
    say(value=done / (time.monotonic() - start), flushes=(flushes() - before) / done)


class Drained:
    """Counts tasks that ran, from the first to the last."""

    def __init__(self):
        self.count = 0
        self.first = self.last = 0.0

    def ran(self):
        now = time.monotonic()
        if not self.count:
            self.first, self.before = now, flushes()
        self.count += 1
        self.last = now

    def is_over(self):
        return self.count >= COUNT or (self.count and time.monotonic() - self.first > SECONDS)

    def say(self):
        count = self.count
        say(value=(count - 1) / (self.last - self.first), flushes=(flushes() - self.before) / count)


def say_latencies(committed, started):
    """From the return of each commit to the start of its task, in milliseconds."""
    times = sorted(max(0.0, (started[n] - committed[n]) * 1e3) for n in started)
    if len(times) < len(committed):
        sys.exit(f"{len(committed) - len(times)} tasks did not start")
    at = lambda share: times[round((len(times) - 1) * share)]
    say(value=at(0.5), p99=at(0.99))


def pace(enqueue):
    """Calls `enqueue` with a number, twenty times a second; returns when each call returned."""
    committed = {}
    for number in range(COUNT):
        time.sleep(PAUSE)
        enqueue(number)
        committed[number] = time.monotonic()
    time.sleep(2)
    return committed
