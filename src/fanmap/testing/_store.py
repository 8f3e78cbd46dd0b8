"""A store of shared limits for tests: several processes in one, in virtual time or in real time."""

from __future__ import annotations

import random
import threading

from typing_extensions import override

from fanmap._drive import clock
from fanmap._drive.drivers.thread_waiter import Waiter
from fanmap._drive.shared.store import Store, StoreAway
from fanmap._policy.shared.document import Document
from fanmap._policy.shared.joining import born
from fanmap._policy.shared.ledger import exchange
from fanmap._policy.shared.messages import Reply, Request
from fanmap._policy.shared.overview import Overview, overview
from fanmap._policy.shared.totals import anew
from fanmap.testing._behaviour import check_number


class SimulatedStore:
    """What several processes share, for tests of code that runs in several: each `Limits` given it is one of them.

        store = SimulatedStore()
        web, worker = Limits(8, shared=store), Limits(8, shared=store)

    Nothing is opened; under `VirtualTime`, it lives on that clock.

    Args:
        latency: seconds for a request to reach it, and for the reply to come back; >= 0.
        lease: seconds after which a process that is not heard of counts as gone; >= 1.

    Attributes:
        away: set it, and no process reaches the store until it is unset.
    """

    def __init__(self, *, latency: float = 0.001, lease: float = 10.0) -> None:
        check_number("latency", latency, (int, float))
        check_number("lease", lease, (int, float))
        if not latency >= 0:
            raise ValueError(f"latency must be >= 0, got {latency!r}")
        if not lease >= 1:
            raise ValueError(f"lease must be >= 1, got {lease!r}")
        self.name = "simulated"
        self.away = False
        self._latency = latency
        self._lease = lease
        self._document: Document | None = None
        self._lock = threading.Lock()
        self._ports: dict[int, _Port] = {}

    @override
    def __repr__(self) -> str:
        return f"SimulatedStore(latency={self._latency!r}, lease={self._lease!r})"

    def forget(self) -> None:
        """Lose everything, as a server does that is restarted without a disk."""
        with self._lock:
            self._document = None

    def begin_anew(self) -> None:
        """As `fanmap shared NAME --reset` does; for fanmap."""
        with self._lock:
            self._document = anew(born(random.SystemRandom().getrandbits(48), clock.now()), self._document)

    def open(self, number: int) -> tuple[Store, float]:
        """What one process has of it; for fanmap."""
        port = self._ports[number] = _Port(self, number)
        return port, self._lease

    def exchange(self, request: Request) -> Reply:
        """Exchange a request for a reply; for fanmap."""
        clock.world.sleep(self._latency)
        if self.away:
            raise StoreAway("it is away")
        with self._lock:
            if self._document is None:
                self._document = born(random.SystemRandom().getrandbits(48), clock.now())
            reply = exchange(self._document, request, clock.now())
        for number in reply.wake:
            port = self._ports.get(number)
            if port is not None:
                port.wake_up()
        clock.world.sleep(self._latency)
        if self.away:
            raise StoreAway("it went away")
        return reply

    def look(self) -> Overview | None:
        """How things are; for fanmap."""
        if self.away:
            raise StoreAway("it is away")
        with self._lock:
            return None if self._document is None else overview(self._document, clock.now())

    def close(self, number: int) -> None:
        """One process lets go of it; for fanmap."""
        self._ports.pop(number, None)


class _Port:
    """One process's way to it."""

    def __init__(self, store: SimulatedStore, number: int) -> None:
        self.where = store.name
        self.wake = number
        self._store = store
        self._waiter = Waiter()
        self._woken = False

    def exchange(self, request: Request) -> Reply:
        return self._store.exchange(request)

    def look(self) -> Overview | None:
        return self._store.look()

    def wait(self, seconds: float) -> bool:
        if seconds > 0:
            self._waiter.wait(seconds)
        woken, self._woken = self._woken, False
        return woken

    def poke(self) -> None:
        self._waiter.wake()

    def wake_up(self) -> None:
        self._woken = True
        self._waiter.wake()

    def reset(self) -> None:
        self._store.begin_anew()

    def close(self) -> None:
        self._store.close(self.wake)
