"""What calls under a Limits have come to: one tally for each thread that counts, added up when somebody asks."""

from __future__ import annotations

from collections import deque
from typing import Any

from typing_extensions import override

from fanmap._drive.books import Books
from fanmap._drive.limits.tally import Retired, Tally
from fanmap._policy.limits.adaptive import Change
from fanmap._policy.limits.admission import Admission
from fanmap._types import Stats

_UNSETTLED = 20  # calls after which it is said that none has told what it took


def counts(tally: Tally) -> dict[str, Any]:
    """A tally as the fields of `Stats` that it fills."""
    return {
        "started": tally.started + tally.inside_repeated,
        "done": tally.done,
        "failed": tally.failed,
        "attempts": tally.started + tally.inside_repeated - tally.refused - tally.inside_refused,
        "refused": tally.refused + tally.inside_refused,
        "waited_for_slot": tally.for_slot,
        "waited_for_rate": tally.for_rate,
        "waited_at_gate": tally.at_gate,
        "waited_to_repeat": tally.to_repeat,
        "abandoned": tally.abandoned,
        "tokens": tally.tokens,
        "unseen": tally.unseen,
        "spent": tally.spent,
    }


class Counting(Books):
    """The part of a budget that counts calls.

    Args:
        counts_tokens: one of the rates is of tokens.

    Attributes:
        admission: who may start; outside of the books only `quiet`, `steady` and numbers may be read.
        counts_tokens: as above.
        history: how the ceiling moved, the last thousand times; read it with `changes`.
    """

    __slots__ = ("_retired", "_tallies", "_unsaid", "_unsettled", "admission", "counts_tokens", "history")

    admission: Admission

    def __init__(self, *, counts_tokens: bool) -> None:
        self.counts_tokens = counts_tokens
        self.history: deque[Change] = deque(maxlen=1000)
        self._unsaid = {"repeats", "usage"}
        self._unsettled: list[None] | None = [] if counts_tokens else None
        super().__init__()

    @override
    def free(self) -> None:
        super().free()
        self._retired = Retired()
        self._tallies: dict[object, Tally] = {}

    def ceiling(self) -> int:
        """How many calls may be under way at once."""
        return self.admission.limit

    def settles_nothing(self, *, settled: bool) -> bool:
        """A call that was charged tokens has ended: is it the last of the first 20, and none has said what it took?"""
        unsettled = self._unsettled
        if unsettled is None:
            return False
        if settled:
            self._unsettled = None
            return False
        unsettled.append(None)
        if len(unsettled) < _UNSETTLED:
            return False
        self._unsettled = None
        return True

    def tell_once(self, what: str) -> bool:
        """Has it not been said yet that a client `repeats` by itself, or that a `usage` of the user's tells nothing?"""
        try:
            self._unsaid.remove(what)
        except KeyError:
            return False
        return True

    def tally_of(self, key: object) -> Tally:
        """The counts that this key's one thread writes, from now until it is retired."""
        tally = self._tallies.get(key)
        return self._tallies.setdefault(key, Tally()) if tally is None else tally

    def retire(self, key: object) -> None:
        """The counts under this key are final."""
        self.post(self._retire, key)

    def stats(self) -> Stats:
        """Where it stands; from any thread, also from a signal handler: it waits for nobody."""
        total, admission = self._retired.total_with(self._tallies.values), self.admission
        return Stats(
            in_flight=max(0, admission.running()),
            waiting=admission.waiting() + total.backing_off,
            ceiling=self.ceiling(),
            **counts(total),
        )

    def changes(self) -> list[Change]:
        """How the ceiling moved."""
        return list(self.history)

    def _retire(self, key: object) -> None:
        tally = self._tallies.get(key)
        if tally is not None:
            self._retired.take(tally)
            del self._tallies[key]
