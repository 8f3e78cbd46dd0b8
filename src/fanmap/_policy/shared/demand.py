"""What the calls of one process need, and what is booked for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class Appointment:
    """A booked start: a call that costs no more may begin from `start` to `until`, by this process's clock.

    `turn`: it is for the background, also where the foreground waits.
    """

    __slots__ = ("booked", "costs", "memory", "start", "turn", "until")

    def __init__(
        self, start: float, until: float, costs: Sequence[float], booked: float, memory: int, *, turn: bool = False
    ) -> None:
        self.start = start
        self.until = until
        self.costs = costs
        self.booked = booked  # by the document's clock
        self.memory = memory  # of the document
        self.turn = turn

    def covers(self, costs: Sequence[float]) -> bool:
        """May a call of these costs start then?"""
        return all(cost <= booked for cost, booked in zip(costs, self.costs, strict=True))


@dataclass(frozen=True, slots=True)
class Demand:
    """What the calls of one process need, at one moment.

    Attributes:
        use: slots in use.
        want: slots that could be used, those among them: in the foreground and in the background.
        asks: the costs of each call that waits for a start and has none, in their order.
        settling: is a call under way that will settle, whatever others do?
        behind: does a call of the background wait, for a slot or for a start that is not booked?
    """

    use: int
    want: tuple[int, int] = (0, 0)
    asks: tuple[Sequence[Sequence[float]], Sequence[Sequence[float]]] = ((), ())
    settling: bool = False
    behind: bool = False

    def counts(self) -> tuple[int, tuple[int, int], tuple[int, int]]:
        """Slots in use, slots that could be used, and how many wait for a start; of each kind."""
        return self.use, self.want, (len(self.asks[0]), len(self.asks[1]))


def runs(asks: Sequence[Sequence[float]]) -> list[list[float]]:
    """[how many, cost of each rate...] of equal ones in a row."""
    found: list[list[float]] = []
    for costs in asks:
        if found and found[-1][1:] == list(costs):
            found[-1][0] += 1
        else:
            found.append([1, *costs])
    return found
