"""What is in an exception group, whatever its class and those of its members make of being looked at.

An item that does several things at once (a TaskGroup, a nursery) may fail in several ways at once. Pure; what the
members say together is read in `signals`.
"""

from __future__ import annotations

from collections.abc import Iterator

from fanmap._raw import INTERRUPTS, is_a, members


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The failures in a group, at any depth, in order; of what is no group, itself."""
    pending = [error]
    while pending:
        one = pending.pop()
        if is_a(one, BaseExceptionGroup):
            pending.extend(reversed(members(one)))  # type: ignore[arg-type]
        else:
            yield one


def carries_interrupt(error: BaseException) -> bool:
    """Whether it is KeyboardInterrupt or SystemExit, or a group with one of these in it."""
    return any(is_a(one, INTERRUPTS) for one in leaves(error))
