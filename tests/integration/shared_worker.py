"""One process of several under a shared name, without the engine: a member, a store, and calls that only take time.

    python shared_worker.py STORE SETTINGS LOG

Reads its orders from stdin, a JSON object a line ({"callers": 4}, {"stop": true}), and writes a line of its log for
each call's start and end: time of the machine's clock, +1 or -1, cost. Nothing else writes there.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import select
import sys
import time
from collections import deque
from pathlib import Path

from fanmap._policy.limits.adaptive import Adaptive
from fanmap._policy.limits.rate import Rate
from fanmap._policy.shared.demand import Demand
from fanmap._policy.shared.member import Member
from fanmap._policy.shared.wanted import wanted


def store_of(place, number):
    if place.startswith("redis://"):
        from fanmap._drive.shared.redis import RedisStore

        return RedisStore(place, "test", number)
    from fanmap._drive.shared.file import FileStore

    return FileStore(Path(place), number)


class Worker:
    def __init__(self, place, options, log):
        self.number = random.getrandbits(48)
        self.store = store_of(place, self.number)
        rates = [Rate(*rate) for rate in options.get("rates", [])]
        slots = options["slots"]
        self.settings = wanted(Adaptive(slots, 1, slots), rates)
        self.rated = bool(rates)
        self.member = Member(self.number, self.settings, options.get("lease", 3.0), self.store.wake)
        self.seconds = options.get("seconds", [0.05, 0.5])
        self.log = Path(log).open("a", buffering=1)  # noqa: SIM115 (as long as the process)
        self.callers = options.get("callers", 4)
        self.slot_line, self.rate_line, self.running = deque(), deque(), []
        self.last = float("-inf")
        self.exchanges = 0
        self.slowest = 0.0
        self.away = 0
        self.stopping = False

    def use(self):
        return len(self.running) + len(self.rate_line)

    def demand(self):
        asks = (
            [[1.0] * len(self.settings.rates)] * (len(self.rate_line) - self.member.booked(time.monotonic()))
            if self.rated
            else ()
        )
        return Demand(self.use(), (self.use() + len(self.slot_line), 0), (asks, ()))

    def note(self, sign):
        self.log.write(f"{time.monotonic():.6f} {sign}\n")

    def go_on(self):
        now = time.monotonic()
        while self.running and self.running[0] <= now:
            heapq.heappop(self.running)
            self.note(-1)
        while self.use() + len(self.slot_line) < self.callers:
            self.slot_line.append(None)
        while self.use() + len(self.slot_line) > self.callers and self.slot_line:
            self.slot_line.pop()
        member = self.member
        member.saw(now, self.use() + len(self.slot_line))
        booked = 0 if member.over else member.booked(now)
        while self.use() > member.cap(now) and member.pressed and len(self.rate_line) > booked:
            self.slot_line.appendleft(self.rate_line.pop())
        while self.slot_line and self.use() < member.cap(now):
            self.rate_line.append(self.slot_line.popleft())
        wait = self.running[0] - now if self.running else 60.0
        while self.rate_line and member.may_start(now):
            at = member.opens(now, self.last)
            if self.rated:
                at = max(at, member.earliest(now, [1.0] * len(self.settings.rates)))
            if at > now:
                return min(wait, at - now)
            self.rate_line.popleft()
            if self.rated:
                member.begin()
            self.last = now
            self.note(+1)
            heapq.heappush(self.running, now + random.uniform(*self.seconds))
            wait = min(wait, self.running[0] - now)
        return wait

    def exchange(self):
        from fanmap._drive.shared.store import StoreAway

        request = self.member.compose(time.monotonic(), self.demand(), random.getrandbits(48), leaving=self.stopping)
        began = time.monotonic()
        try:
            reply = self.store.exchange(request)
        except StoreAway:
            self.member.lost()
            self.away += 1
            time.sleep(0.02)
            return
        finally:
            self.slowest = max(self.slowest, time.monotonic() - began)
        self.exchanges += 1
        self.member.take(reply, time.monotonic())

    def orders(self):
        while select.select([sys.stdin], [], [], 0)[0]:
            line = sys.stdin.readline()
            if not line:
                self.stopping = True
                return
            order = json.loads(line)
            self.callers = order.get("callers", self.callers)
            self.stopping = self.stopping or "stop" in order
            if "refused" in order:
                now = time.monotonic()
                self.member.happenings.refused(
                    "rate", order["refused"], self.member.epoch, 1, None, now, now, 300.0, random.random()
                )
                self.member.shut(now + order["refused"], 1.0, order["refused"])
            if "fork" in order:
                os.fork()

    def run(self):
        while not self.stopping:
            self.orders()
            wait = self.go_on()
            now = time.monotonic()
            due = self.member.due(now, *self.demand().counts())
            if due <= now:
                self.exchange()
            else:
                self.store.wait(min(wait, due - now, 0.05))
        self.exchange()
        self.store.close()
        times = os.times()
        said = {
            "exchanges": self.exchanges,
            "slowest": self.slowest,
            "away": self.away,
            "cpu": times.user + times.system,
        }
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    Worker(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]).run()
