"""What a traced run notes while it goes: 24 bytes a call, 28 more for one that waited.

Rows are packed and appended in one step each, so that a row is whole whichever thread looks. Times are those of the
run's one clock. Nothing is worked out here; that is done when the trace is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct
from typing import Final

from fanmap._policy.failures.verdict import Kind

pack_call: Final = Struct("<Qdd").pack
pack_wait: Final = Struct("<Qdfff").pack
_CALL: Final = Struct("<Qdd")
_WAIT: Final = Struct("<Qdfff")
_FATE: Final = Struct("<QdB")
_BACK_OFF: Final = Struct("<Qddd")
_REFUSAL: Final = Struct("<QdBd")
_GATE: Final = Struct("<ddB")
KINDS: Final[tuple[Kind, ...]] = ("rate", "concurrency", "ramp", "overloaded", "transient", "permanent")


class Fate(IntEnum):
    """How one call ended."""

    RETURNED = 0
    REFUSED = 1
    REPEATED = 2  # it failed, and the item was to be called again
    FAILED = 3
    CUT = 4  # cancelled, with its run or by itself
    UNDER_WAY = 5  # it has not ended
    WAITING = 6  # it has not begun


class TraceLog:
    """The rows of one run.

    Attributes:
        calls: those that ended: index, began, ended. Appended to by the run itself, with `pack_call`.
        waits: as `waited` is told. Appended to by workers themselves, with `pack_wait`.
    """

    __slots__ = ("_back_offs", "_fates", "_gates", "_refusals", "calls", "waits")

    def __init__(self) -> None:
        self.calls = bytearray()
        self.waits = bytearray()
        self._fates = bytearray()
        self._back_offs = bytearray()
        self._refusals = bytearray()
        self._gates = bytearray()

    def waited(self, index: int, began: float, slot: float, gate: float, rate: float) -> None:
        """A call that began then had waited for so many seconds for each."""
        self.waits += pack_wait(index, began, slot, gate, rate)

    def ended(self, index: int, began: float, ended: float, fate: Fate) -> None:
        """A call has ended, otherwise than by returning. Told twice of one call, the first counts."""
        self._fates += _FATE.pack(index, began, fate)
        self.calls += pack_call(index, began, ended)

    def backs_off(self, index: int, since: float, gate: float, until: float) -> None:
        """An item waits to be called again: until `gate` for the gate, then for its own time."""
        self._back_offs += _BACK_OFF.pack(index, since, gate, until)

    def refused(self, index: int, now: float, kind: Kind, wait: float | None) -> None:
        """A server refused to start a call, and said to wait for so long."""
        place = KINDS.index(kind) if kind in KINDS else len(KINDS) - 1
        self._refusals += _REFUSAL.pack(index, now, place, wait or 0.0)

    def held(self, now: float, until: float, *, outage: bool) -> None:
        """Everybody waits until then, for the gate or for the next probe."""
        self._gates += _GATE.pack(now, until, outage)

    # Read from copies: rows may come in meanwhile

    def each_call(self) -> Iterator[tuple[int, float, float]]:
        """index, began, ended."""
        return _CALL.iter_unpack(bytes(self.calls))

    def each_wait(self) -> Iterator[tuple[int, float, float, float, float]]:
        """index, began; seconds for a slot, the gate, a rate."""
        return _WAIT.iter_unpack(bytes(self.waits))

    def each_fate(self) -> Iterator[tuple[int, float, int]]:
        """index, began, fate; of calls that did not return."""
        return _FATE.iter_unpack(bytes(self._fates))

    def each_back_off(self) -> Iterator[tuple[int, float, float, float]]:
        """index, since, until for the gate, until."""
        return _BACK_OFF.iter_unpack(bytes(self._back_offs))

    def each_refusal(self) -> Iterator[tuple[int, float, int, float]]:
        """index, time, place in `KINDS`, seconds that it said to wait."""
        return _REFUSAL.iter_unpack(bytes(self._refusals))

    def each_gate(self) -> Iterator[tuple[float, float, int]]:
        """from, until, whether it is an outage."""
        return _GATE.iter_unpack(bytes(self._gates))
