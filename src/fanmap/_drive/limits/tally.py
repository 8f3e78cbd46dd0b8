"""What calls are counted in: tallies, each written by one thread, and those that are final."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fanmap._usage import Usage

_SLOWEST = 5  # calls that a summary names
_APART = 32  # final counts that are kept as they are, before they are added up
_LOOKS = 100  # by who waits for nobody: each again because a thread has ended meanwhile


class Tally:
    """Counts that one thread writes and any thread may read; several are added up."""

    __slots__ = (
        "abandoned", "at_gate", "backing_off", "busy", "done", "failed", "for_rate", "for_slot", "inside_refused",
        "inside_repeated", "refused", "resumed", "slowest", "slowest_threshold", "spent", "started", "to_repeat",
        "tokens_cached", "tokens_in", "tokens_out", "tokens_written", "unseen",
    )  # fmt: skip

    def __init__(self) -> None:
        self.started = self.done = self.failed = self.refused = self.backing_off = self.abandoned = 0
        self.resumed = self.unseen = 0
        # Of requests inside of calls under way; changed with the budget's books in hand, from any thread.
        self.inside_refused = self.inside_repeated = 0
        self.tokens_in = self.tokens_cached = self.tokens_out = self.tokens_written = 0
        self.spent = 0.0
        self.busy = self.slowest_threshold = 0.0
        self.slowest: list[tuple[float, int]] = []
        self.for_slot = self.for_rate = self.at_gate = self.to_repeat = 0.0

    def add(self, other: Tally) -> None:
        """Add the other's counts to these."""
        self.started += other.started
        self.done += other.done
        self.failed += other.failed
        self.refused += other.refused
        self.backing_off += other.backing_off
        self.abandoned += other.abandoned
        self.resumed += other.resumed
        self.unseen += other.unseen
        self.inside_refused += other.inside_refused
        self.inside_repeated += other.inside_repeated
        self.tokens_in += other.tokens_in
        self.tokens_cached += other.tokens_cached
        self.tokens_out += other.tokens_out
        self.tokens_written += other.tokens_written
        self.spent += other.spent
        self.busy += other.busy
        if other.slowest and other.slowest[0][0] > self.slowest_threshold:
            self._keep([*self.slowest, *other.slowest])
        self.for_slot += other.for_slot
        self.for_rate += other.for_rate
        self.at_gate += other.at_gate
        self.to_repeat += other.to_repeat

    def take(self, usage: Usage) -> None:
        """A call took so much."""
        self.tokens_in += usage.input
        self.tokens_cached += usage.cached
        self.tokens_out += usage.output
        self.tokens_written += usage.written

    @property
    def tokens(self) -> Usage:
        """What calls took together."""
        return Usage(self.tokens_in, self.tokens_cached, self.tokens_out, self.tokens_written)

    def note(self, index: int, seconds: float) -> None:
        """An item's call took longer than `slowest_threshold`: one of the slowest so far."""
        self._keep([*self.slowest, (seconds, index)])

    def _keep(self, calls: list[tuple[float, int]]) -> None:
        self.slowest = sorted(calls, reverse=True)[:_SLOWEST]
        if len(self.slowest) == _SLOWEST:
            self.slowest_threshold = self.slowest[-1][0]


class Retired:
    """Counts that are final: added up only when somebody asks, or when there are many."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: tuple[Tally, ...] = ()  # the one that was taken last is the last of them

    def take(self, tally: Tally) -> None:
        """These are final. They may be among the live ones until the next are taken, and are counted once."""
        kept = self._kept if len(self._kept) < _APART else (_sum(self._kept),)
        self._kept = (*kept, tally)

    def total_with(self, live: Callable[[], Iterable[Tally]]) -> Tally:
        """All of them, with the live ones, added up; from any thread, waiting for none.

        Args:
            live: lists those; asked again where some were taken meanwhile.
        """
        kept, others = self._kept, list(live())
        for _ in range(_LOOKS):
            if self._kept is kept:
                break
            kept, others = self._kept, list(live())
        last = kept[-1] if kept else None
        return _sum((*kept, *(tally for tally in others if tally is not last)))


def _sum(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total.add(tally)
    return total
