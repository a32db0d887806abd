"""Runs every peer in turn, round by round, on private servers, and writes a report as `votive-report` has it."""

import argparse
import atexit
import datetime
import json
import os
import pathlib
import platform
import shutil
import socket
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
TIMEOUT = 120


def peers(home):
    """The name and version of each peer, how it is called, its store, its settings, and its cases."""
    python = [f"{home}/venv/bin/python"]
    node = [f"{home}/node/node_modules/.bin/node"]
    huey = python + [HERE / "python/huey_peer.py"]
    at_most_once = "deletes on claim: at most once"
    one = ("W1", "one producer", [])
    many = ("W1", "16 producers", [16])
    drains = [("W3", "1 worker", [1]), ("W3", "4 workers", [4])]
    latency = ("W4", "20 per second", [])
    batched = ("W3", "4 workers, batched", [500])
    hundreds = ("W3", "100 per claim, without a consumer", [100])
    rust = pathlib.Path(home) / "rust/release"
    node_peer = lambda name: node + [home / f"node/{name}.cjs"]
    return [
        ("effectum 0.7.0", [rust / "effectum-peer"], [], "sqlite", "rollback journal, commits in groups", [one, many, *drains]),
        ("apalis 1.0.0", [rust / "apalis-peer"], [], "memory", f"a channel; {at_most_once}", [one, *drains]),
        ("Huey 3.5.4", huey, ["sqlite"], "sqlite", f"fsync=True; {at_most_once}", [one, *drains, latency]),
        ("Huey 3.5.4", huey, ["memory"], "memory", at_most_once, [one, *drains]),
        ("Huey 3.5.4", huey, ["redis"], "redis", at_most_once, [one, *drains, latency]),
        ("Huey 3.5.4", huey, ["postgres"], "postgres", at_most_once, [one, *drains, latency]),
        ("honker 0.2.4", python + [HERE / "python/honker_peer.py"], [], "sqlite", "synchronous=NORMAL, which cannot be changed: a power failure loses commits; claim_batch and ack_batch in a loop", [one, drains[0], hundreds]),
        ("Procrastinate 3.10.0", python + [HERE / "python/procrastinate_peer.py"], [], "postgres", "deletes what succeeded", [one, *drains, latency]),
        ("BullMQ 6.7.0", node_peer("bullmq"), [], "redis", "removeOnComplete", [one, *drains, latency]),
        ("graphile-worker 0.18.0", node_peer("graphile"), [], "postgres", "as it comes; batched: a local queue of 500 and completions in batches", [one, *drains, batched, latency]),
        ("pg-boss 12.30.0", node_peer("pgboss"), [], "postgres", "fetch and complete in a loop", [one, drains[0], hundreds]),
    ]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stop(server):
    server.terminate()
    server.wait(30)


def wait_for(port):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"nobody listens on port {port}")


class Redis:
    """A server that flushes every write before it answers."""

    def __init__(self, folder):
        self.port = free_port()
        settings = {"port": self.port, "bind": "127.0.0.1", "dir": folder, "save": "", "appendonly": "yes", "appendfsync": "always"}
        flat = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        server = subprocess.Popen(["redis-server", *flat], stdout=subprocess.DEVNULL)
        atexit.register(stop, server)
        wait_for(self.port)

    def fresh(self):
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(b"FLUSHALL\r\n")
            connection.recv(100)
        return f"redis://127.0.0.1:{self.port}/0"


class Postgres:
    """A server with `fsync` and `synchronous_commit` on, as it comes; a database for each measurement."""

    def __init__(self, folder):
        self.port, self.count = free_port(), 0
        found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))
        self.bin = found[-1] if found else pathlib.Path(shutil.which("postgres")).parent
        # It refuses to run as root.
        self.user = {"user": "postgres"} if os.getuid() == 0 else {}
        if self.user:
            shutil.chown(folder, "postgres")
        cluster = f"{folder}/cluster"
        initdb = [self.bin / "initdb", "-D", cluster, "-A", "trust", "-U", "postgres"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=folder, **self.user)
        server = [self.bin / "postgres", "-D", cluster, "-p", str(self.port), "-k", folder, "-h", "127.0.0.1"]
        server = subprocess.Popen(server, stderr=subprocess.DEVNULL, cwd=folder, **self.user)
        atexit.register(stop, server)
        wait_for(self.port)

    def fresh(self):
        self.count += 1
        url = f"postgres://postgres@127.0.0.1:{self.port}"
        create = f"CREATE DATABASE peer{self.count}"
        psql = [self.bin / "psql", f"{url}/postgres", "--quiet", "--command", create]
        deadline = time.monotonic() + 30
        while subprocess.run(psql, stderr=subprocess.DEVNULL).returncode and time.monotonic() < deadline:
            time.sleep(0.2)
        return f"{url}/peer{self.count}"


def device(folder):
    """The `stat` file of the block device under a folder."""
    number = os.stat(folder).st_dev
    node = pathlib.Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve()
    whole = node.parent if (node / "partition").exists() else node
    return whole / "stat"


def machine():
    with open("/proc/cpuinfo") as info:
        names = [line.split(":")[1].strip() for line in info if line.startswith("model name")]
    return f"{os.cpu_count()} cores of {names[0]}, Linux {platform.release().split('-')[0]}"


def measure(peer, case, servers, home, arguments):
    """One figure of one peer, or `None` with a word why not."""
    _, command, words, store, _, _ = peer
    work, _, more = case
    with tempfile.TemporaryDirectory(dir=home) as folder:
        count = arguments.timed if work == "W4" else arguments.tasks
        environment = os.environ | {
            "PEER_FOLDER": folder,
            "PEER_URL": servers[store].fresh() if store in servers else "",
            "PEER_COUNT": str(count),
            "PEER_SECONDS": str(arguments.seconds),
            "PEER_FLUSHES": str(device(home)),
        }
        full = [*map(str, command), work, *words, *map(str, more)]
        try:
            done = subprocess.run(full, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            return None, f"took longer than {TIMEOUT} s"
        except OSError as error:
            return None, str(error)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return None, (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    return json.loads(lines[-1]), None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=pathlib.Path, help="where peers are installed and data is written")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=5_000, help="of one measurement (default 5000)")
    parser.add_argument("--timed", type=int, default=60, help="tasks timed one by one (default 60)")
    parser.add_argument("--seconds", type=float, default=3, help="after which a measurement is cut (default 3)")
    parser.add_argument("--only", default="", help="words that peer, store, work and name must contain")
    parser.add_argument("--caveat", default="", help="what readers must know, such as that the machine is busy")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "../../docs/performance/peers.json")
    arguments = parser.parse_args()
    home = arguments.home.resolve()
    # The user of the database's server must be able to enter it.
    folder = tempfile.TemporaryDirectory(prefix="votive-peers-")
    os.chmod(folder.name, 0o755)
    places = {name: f"{folder.name}/{name}" for name in ("redis", "postgres")}
    for place in places.values():
        os.mkdir(place)
    servers = {"redis": Redis(places["redis"]), "postgres": Postgres(places["postgres"])}
    for source in (HERE / "node").glob("*.cjs"):
        shutil.copy(source, home / "node")
    words = arguments.only.lower().split(",")
    chosen = [
        (peer, case, [])
        for peer in peers(home)
        for case in peer[5]
        if all(word in f"{peer[0]} {peer[3]} {case[0]} {case[1]}".lower() for word in words)
    ]
    for number in range(arguments.rounds):
        for peer, case, rounds in chosen:
            figures, reason = measure(peer, case, servers, home, arguments)
            print(f"{number + 1}: {peer[0]}, {peer[3]}, {case[1]}: {figures or reason}", flush=True)
            if figures:
                rounds.append({"own": figures})
    write(arguments, chosen, home)


def write(arguments, chosen, home):
    report = {
        "day": datetime.date.today().isoformat(),
        "machine": machine(),
        "flushes": "requests of the block device",
        "caveat": arguments.caveat,
        "cases": [
            {"by": peer[0], "store": peer[3], "work": case[0], "name": case[1], "note": peer[4], "rounds": rounds}
            for peer, case, rounds in chosen
            if rounds
        ],
    }
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")


main()
