"""What a call that the server refused means to all calls: fewer at once, a round, a gate.

Pure; the same for the calls of one process and for those of all that share a name. How much the ceiling falls and when
the gate opens are the ceiling's and the brake's.
"""

from __future__ import annotations

from dataclasses import dataclass

from fanmap._policy.limits.adaptive import Ceiling
from fanmap._policy.limits.brake import Brake, Braked

_SOON = 10.0  # seconds after a gate in which another refusal says that the pace is too fast, not that a window was used


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that the server refused to start.

    Attributes:
        kind: of the verdict.
        wait: seconds that the server asked for; None: it named none.
        started: when the call began.
        epoch: of the ceiling, when the call was let through.
        crowd: calls under way, this one among them; the larger number of when it was let through and of now.
        still: calls under way besides.
        paced: there is a rate that paces calls like it.
    """

    kind: str
    wait: float | None
    started: float
    epoch: int
    crowd: int
    still: int
    paced: bool


def refuse(ceiling: Ceiling, brake: Brake, refusal: Refusal, *, gate: float, now: float, chance: float) -> Braked:
    """Tell the ceiling and the brake; `gate` is when the last one opened, or opens."""
    kind, wait, started, epoch = refusal.kind, refusal.wait, refusal.started, refusal.epoch
    of_crowd = kind == "concurrency"
    fewer = of_crowd and ceiling.can_answer(epoch)
    if about_crowd(kind, wait, paced=refusal.paced, started=started, gate=gate):
        # A gate has thinned the crowd that was too many.
        crowd = ceiling.limit + 1 if kind == "rate" and wait is not None else refusal.crowd
        ceiling.refused(epoch, crowd, refusal.still if of_crowd else None)
    return brake.refused(wait=wait, kind=kind, fewer=fewer, started=started, now=now, chance=chance)


def about_crowd(kind: str, wait: float | None, *, paced: bool, started: float, gate: float) -> bool:
    """Are fewer calls at once an answer to this refusal?

    A wait that is named is kept by the gate: the window was used up. But if the next refusal comes soon after that
    gate, the pace is too fast, and where no rate is known only fewer calls at once are slower.
    """
    if kind == "concurrency":
        return True
    return kind == "rate" and not paced and (wait is None or 0.0 <= started - gate < _SOON)
