"""honker: claimed one by one or by hundreds, and acknowledged together.

Its writer runs with `synchronous=NORMAL` and every statement in a transaction, where that cannot be changed.
"""

import sys

import honker

from peer import COUNT, FOLDER, PAYLOAD, WORK, Drained, produce

database = honker.open(f"{FOLDER}/honker.db")
queue = database.queue("q")

if WORK == "W1":
    produce(lambda: queue.enqueue(PAYLOAD))
elif WORK == "W3":
    with database.transaction() as txn:
        for _ in range(COUNT):
            queue.enqueue(PAYLOAD, tx=txn)
    drained, size = Drained(), int(sys.argv[2])
    while not drained.is_over():
        jobs = queue.claim_batch("worker", size)
        for job in jobs:
            drained.ran()
        queue.ack_batch([job.id for job in jobs], "worker")
    drained.say()
