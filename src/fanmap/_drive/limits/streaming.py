"""Streams keep their slots while somebody reads them: whose are all the slots, where a reader waits for one?"""

from __future__ import annotations

from contextlib import suppress

from typing_extensions import override

from fanmap._drive.books import BUSY
from fanmap._drive.limits.braking import Braking


class Streaming(Braking):
    """The part of a budget that knows readers of streams, as numbers of threads and tasks.

    Attributes:
        streams: there was a call whose stream is read chunk by chunk, slot in hand.
        readers: who began runs of such calls that are not over.
    """

    __slots__ = ("readers", "streams")

    @override
    def free(self) -> None:
        """As of every part: a new budget, or the child of a fork, where nobody reads."""
        self.streams = False
        self.readers: list[int] = []
        super().free()

    def begin_streams(self, reader: int) -> None:
        """A run begins whose reader is handed chunks."""
        self.streams = True
        self.readers.append(reader)

    def end_streams(self, reader: int) -> None:
        """That run is over."""
        with suppress(ValueError):
            self.readers.remove(reader)

    def held_only_for(self, readers: tuple[int, ...]) -> bool | None:
        """Is every slot in the hands of streams that stand until one of these goes on? None: they read none of them."""
        held = self.do(self._held_only_for, readers)
        return False if held is BUSY else held

    def _held_only_for(self, readers: tuple[int, ...]) -> bool | None:
        admission = self.admission
        reads = not set(readers).isdisjoint(self.readers) or admission.has_streams_of(*readers)
        return admission.held_only_for(*readers) if reads else None
