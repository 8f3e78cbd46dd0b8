"""What a store of a shared Limits does for one process: a file, Redis, or a simulated one for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fanmap._policy.shared.messages import Reply, Request
    from fanmap._policy.shared.overview import Overview


class StoreAway(Exception):
    """Raised when a store cannot be reached, or did not answer in time; whether it took the request is not known."""


class Store(Protocol):
    """One document under one name, and a way to wake who else has it.

    Attributes:
        where: what people know it by, without any password.
        wake: where this process is woken, a number that goes into the document.
    """

    where: str
    wake: int

    def exchange(self, request: Request) -> Reply:
        """Exchange a request for a reply, and wake whom it names.

        Raises:
            StoreAway: see there.
            OSError, ValueError: it will never work: the message says what to do.
        """
        ...

    def look(self) -> Overview | None:
        """How things are, without taking part; None: nobody has this name.

        Raises:
            StoreAway: it cannot be read, or what is there is something else.
        """
        ...

    def wait(self, seconds: float) -> bool:
        """Return after so many seconds; earlier where a thread here pokes, or (True) another process wakes this one."""
        ...

    def poke(self) -> None:
        """End `wait`, now or the next one; from any thread."""
        ...

    def reset(self) -> None:
        """Forget everything that is kept under the name; of totals nothing is spent, whatever members bring."""
        ...

    def close(self) -> None:
        """Let go of everything. Called once, by who waits."""
        ...


class StoreOpener(Protocol):
    """A shared name, and how to open its store; nothing is opened before that.

    Attributes:
        name: what people know it by, without any password.
    """

    name: str

    def open(self, number: int) -> tuple[Store, float]:
        """The store, for a process of this number, and the seconds of its lease.

        Raises:
            ValueError, OSError, ImportError: it will never work; the message says what to do.
        """
        ...
