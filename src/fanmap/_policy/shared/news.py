"""What happened in one process and concerns everybody: refusals, answers, failures, settlements.

The ceiling and the brake are those of `_policy.limits.adaptive` and `_policy.limits.brake`, told of everybody's calls:
eight simulated processes on a server with four slots, each with a ceiling of its own, were refused 89 calls of 100;
with one for all of them, 3. (Real ones: 41 and 3.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fanmap._policy.limits.adaptive import Adaptive, Ceiling
from fanmap._policy.limits.brake import Brake
from fanmap._policy.limits.refusal import Refusal, refuse
from fanmap._policy.shared.document import NEVER, Document
from fanmap._policy.shared.messages import (
    ANSWERED,
    DENIED,
    FAILED,
    PRICED,
    REFUSED,
    SETTLED,
    SPENT,
    TOLD,
    UNUSED,
)
from fanmap._policy.shared.rates import settle
from fanmap._policy.shared.told import binds, hear, untold
from fanmap._policy.shared.totals import is_total, learn

KINDS: Final = ("", "rate", "concurrency", "ramp")  # of refusals, by their number
# What an answer counts for: it is heard of in a batch, and its crowd was of another moment in every process. Where each
# counts for one, a server with four slots refuses 7 calls of 100 and one with sixteen 1.6; so, 3 and 0.6, and no less
# is used.
_ANSWER = 0.25
_FAR = 1e15  # seconds apart, where starts after a gate need not be any closer than they are spread


def ceiling_of(document: Document) -> Ceiling:
    """The ceiling as it stands."""
    settings = Adaptive(document.start, document.minimum, document.maximum)
    return Ceiling(settings, document.ceiling)


def brake_of(document: Document, max_wait: float = 0.0) -> Brake:
    """The brake as it stands, for somebody who waits so long."""
    return Brake(max_wait, document.brake)


def epoch_of(document: Document) -> int:
    """How often the ceiling was cut."""
    return ceiling_of(document).epoch if document.ceiling else 0


def slots_of(document: Document) -> int:
    """How many calls may be under way; in an outage, one probe, and one until somebody knows the server's limits."""
    return 1 if brake_of(document).outage or untold(document) else int(document.ceiling[0])


def take(document: Document, event: Sequence[float], now: float) -> None:
    """Take one event."""
    code = event[1]
    if code == REFUSED:
        _refused(document, event[2:], now)
    elif code == ANSWERED:
        _answered(document, event[2:], now)
    elif code == FAILED:
        _failed(document, event[2:], now)
    elif code == DENIED:
        brake = brake_of(document)
        brake.denied()
        document.brake = brake.state()
    elif code == SPENT:
        document.spent = max(document.spent, now - event[2])
    elif code == PRICED:
        learn(document.rates[int(event[2])], int(event[3]), event[4])
    elif code == TOLD:
        hear(document, event[2:], now)
    elif event[2] == document.memory:  # what another memory had booked is not in this one
        if code == SETTLED:
            settle(document.rates[int(event[3])], event[4], event[5])
        elif code == UNUSED:
            for rate, cost in zip(document.rates, event[5:], strict=True):
                if not is_total(rate):
                    settle(rate, event[3], -cost)


def _refused(document: Document, event: Sequence[float], now: float) -> None:
    number, wait, epoch, crowd, still, ago, started, max_wait, chance = event
    ceiling, brake = ceiling_of(document), brake_of(document, max_wait)
    kind, named = KINDS[int(number)], None if wait < 0.0 else wait
    paced = any(map(binds, document.rates))
    refusal = Refusal(kind, named, now - started, int(epoch), int(crowd), int(still), paced)
    braked = refuse(ceiling, brake, refusal, gate=document.gate, now=now - ago, chance=chance)
    if braked.gate is not None:
        shut(document, braked.gate, braked.spread, min(braked.apart, _FAR))
    document.ceiling, document.brake = ceiling.state(), brake.state()


def _answered(document: Document, event: Sequence[float], now: float) -> None:
    epoch, crowd, limit, many, started = event
    ceiling, brake = ceiling_of(document), brake_of(document)
    for _ in range(int(many)):
        ceiling.answered(int(epoch), int(crowd), int(limit), _ANSWER)
    brake.succeeded(now - started)
    if now - started > document.spent:
        document.spent = NEVER
    document.ceiling, document.brake = ceiling.state(), brake.state()


def _failed(document: Document, event: Sequence[float], now: float) -> None:
    started, max_wait, chance = event
    brake = brake_of(document, max_wait)
    probe = brake.failed(now, chance, now - started)
    if probe is not None:
        shut(document, probe, 0.0, _FAR)
    document.brake = brake.state()


def shut(document: Document, until: float, spread: float, apart: float) -> None:
    """Nothing starts before; an earlier promise is never shortened."""
    document.gate = max(document.gate, until)
    document.spread, document.apart = spread, apart
