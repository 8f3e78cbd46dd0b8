"""A process that runs calls under a shared Limits until its standard input ends.

    python shared_caller.py PLACE SLOTS LOG [fork | background]

Each call writes "PID +" and "PID -" to the log, which all processes append to: a line is one write, so the order of
the lines is the order in which things happened. With "fork", the same goes on in a child, too, after the first calls;
with "background", its calls are those of the background.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
import threading
import time
import warnings

from fanmap import Limits, parallel_map
from fanmap._policy.shared import troubles

troubles.FIRST_PATIENCE = 120.0  # a busy machine may be late with a server's first answer
place, slots, log = sys.argv[1], int(sys.argv[2]), os.open(sys.argv[3], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
account = Limits(max_concurrency=slots, max_wait=600.0, shared=place)
if sys.argv[4:] == ["background"]:
    account = account.background


@parallel_map(limits=account)
def call(number):
    os.write(log, f"{os.getpid()} +\n".encode())
    time.sleep(random.uniform(0.01, 0.1))
    os.write(log, f"{os.getpid()} -\n".encode())
    return number


def main():
    if sys.argv[4:] == ["fork"]:
        assert call.map(range(10)) == list(range(10))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of threads, which do not survive it
            child = os.fork()
        if child == 0:
            os.write(log, f"{os.getpid()} born\n".encode())
    with call.imap(itertools.count()) as results:
        threading.Thread(target=lambda: (sys.stdin.read(), results.stop()), daemon=True).start()
        for expected, number in enumerate(results):
            assert number == expected  # nothing is lost, whatever happens to the store


if __name__ == "__main__":
    main()
