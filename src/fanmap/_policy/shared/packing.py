"""A document as a list of numbers and back, for stores that keep bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Final

from fanmap._policy.shared.document import Document, MemberState, RateSetting, RateState, Settings

VERSION: Final = 4.0


def pack(document: Document) -> list[float]:
    """All of the document, as numbers; `unpack` makes it again."""
    one = document
    numbers: list[float] = [
        VERSION, one.memory, one.exchanges, one.time, one.skew, one.minimum, one.start, one.maximum, one.gate,
        one.spread, one.apart, one.spent, one.booked, one.quiet, one.unclaimed, one.era, one.passed,
        one.turn, one.told, len(one.rates), len(one.members),
    ]  # fmt: skip
    rows: tuple[Sequence[float], ...] = (one.ceiling, one.brake, *one.lines)
    for row in rows:
        numbers.append(len(row))
        numbers.extend(row)
    for rate in one.rates:
        numbers += (rate.what, rate.per, rate.amount, rate.burst, rate.refill, rate.late)
        numbers += (rate.tat, rate.base, rate.since, rate.most)
        numbers += (rate.spent, rate.brought, rate.unclaimed, rate.mean, rate.learnt)
        numbers += (rate.unit, rate.window, rate.pace, rate.heard)
        _pack_rows(numbers, rate.cells)
    for member in one.members:
        numbers += (
            member.id, member.wake, member.serial, member.told, member.seen, member.ttl, member.ends, member.woken,
            member.use, *member.want, member.allow, member.target, member.pressed, member.over, member.odd,
            member.turn, member.turned, member.boxed, member.settling, member.behind, *member.starts, len(member.paid),
            *member.open, *member.paid,
        )  # fmt: skip
        wants = member.settings
        numbers += (wants.minimum, wants.start, wants.maximum)
        for want in wants.rates:
            numbers += (want.what, want.per, want.amount, want.burst, want.refill, want.late)
        for entries in (*member.asks, member.box):
            _pack_rows(numbers, entries)
    return numbers


def _pack_rows(numbers: list[float], rows: Sequence[Sequence[float]]) -> None:
    numbers.append(len(rows))
    for row in rows:
        numbers.extend(row)


def unpack(numbers: Iterable[float]) -> Document:
    """What was packed.

    Raises:
        ValueError: it is not what this version packs.
    """
    rest = iter(numbers)
    try:
        document = _document(rest)
    except StopIteration:
        raise ValueError("too few numbers") from None
    if next(rest, None) is not None:
        raise ValueError("too many numbers")
    return document


def _document(rest: Iterator[float]) -> Document:
    if next(rest) != VERSION:
        raise ValueError("another version")
    memory, exchanges, time, skew, minimum, start, maximum, gate = islice(rest, 8)
    document = Document(int(memory), int(exchanges), time, skew)
    document.minimum, document.start, document.maximum, document.gate = int(minimum), int(start), int(maximum), gate
    document.spread, document.apart, document.spent, document.booked, document.quiet = islice(rest, 5)
    document.unclaimed, document.era, document.passed, document.turn = map(int, islice(rest, 4))
    told, rates, members = map(int, islice(rest, 3))
    document.told = bool(told)
    document.ceiling, document.brake, *lines = [_take(rest, int(next(rest))) for _ in range(4)]
    document.lines = [[*map(int, line)] for line in lines]
    document.rates = [_rate(rest) for _ in range(rates)]
    document.members = [_member(rest, rates) for _ in range(members)]
    return document


def _take(rest: Iterator[float], many: int) -> list[float]:
    taken = [*islice(rest, many)]
    if len(taken) < many:
        raise StopIteration
    return taken


def _take_rows(rest: Iterator[float], width: int) -> list[list[float]]:
    return [_take(rest, width) for _ in range(int(next(rest)))]


def _rate(rest: Iterator[float]) -> RateState:
    what, *others = islice(rest, 10)
    per, amount, burst, refill, late, tat, base, since, most = others
    spent, brought, unclaimed, mean, learnt, unit, window, pace, heard = islice(rest, 9)
    return RateState(
        int(what), per, amount, burst, refill, late, tat, base, since, most, _take_rows(rest, 2),
        spent, brought, unclaimed, mean, int(learnt), int(unit), window, pace, heard,
    )  # fmt: skip


@lru_cache(256)  # most members want the same
def _settings(minimum: int, start: int, maximum: int, *rates: tuple[float, ...]) -> Settings:
    return Settings(minimum, start, maximum, tuple(RateSetting(int(what), *others) for what, *others in rates))


def _member(rest: Iterator[float], rates: int) -> MemberState:
    number, wake, serial, told, seen, ttl, ends, woken = islice(rest, 8)
    use, front, back, allow, target, pressed, over = map(int, islice(rest, 7))
    odd, turn, turned, boxed, settling = islice(rest, 5)
    behind, started, started_behind, totals = map(int, islice(rest, 4))
    open_units, paid = _take(rest, totals), _take(rest, totals)
    minimum, start, maximum = map(int, islice(rest, 3))
    settings = _settings(minimum, start, maximum, *[tuple(_take(rest, 6)) for _ in range(rates)])
    return MemberState(
        int(number), settings, turn, int(wake), int(serial), int(told), seen, ttl, ends, woken,
        use, [front, back], allow, target, bool(pressed), bool(over), odd,
        [_take_rows(rest, 1 + rates), _take_rows(rest, 1 + rates)], _take_rows(rest, 3 + rates), int(boxed),
        open_units, paid, bool(settling), [started, started_behind], bool(behind), turned,
    )  # fmt: skip
