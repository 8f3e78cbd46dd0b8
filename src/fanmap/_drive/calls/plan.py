"""How items become calls, the phases of a call, and the words in which a caller tells its driver what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from fanmap._drive.calls.scope import Scope
from fanmap._drive.limits.budget import Budget
from fanmap._policy.limits.permit import Permit
from fanmap._policy.runs.attempt import Retry
from fanmap._policy.runs.effects import END, WAIT, Word

__all__ = [
    "AGAIN", "BACK_OFF", "BLOCK", "CALL", "CALLING", "END", "ENDED", "FAILED", "IN_LINE", "NEW", "READ", "WAIT",
    "Arguments", "Plan", "Word",
]  # fmt: skip

NEW, IN_LINE, CALLING, BACK_OFF, FAILED, ENDED = range(6)
"""The phases of a call; `caller` has the table of what leads from one to the next."""

CALL: Final = Word("CALL")  # call `plan.call(caller.item)` and tell `returned` or `raised`
AGAIN: Final = Word("AGAIN")  # `step` at once
READ: Final = Word("READ")  # read `worker.stream` and tell `returned` the `Whole`; a run's worker only
# WAIT: wait until woken, `caller.delay` seconds at most (None: no bound), then `step`. END: nothing more to do.

BLOCK: Final = "a block under Limits"
"""The name of a `with limits:` block, which is nobody's function."""

Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """How items become calls: settings of one run or of one function, shared and never changed.

    Attributes:
        name: of the function, for notes and messages.
        call: takes an item and calls the user's function with it.
        arguments: an item's args and kwargs, for the rates' costs; None: nobody knows, and each costs 1.
        budget: what every call runs under.
        retry: what to repeat beyond refusals; None: nothing; False: not even those.
        repeatable: can this item be called again at all? (An awaitable can't.) None: every one can.
        scope: the class of a call's scope; `TransferableScope`: the first call inside may take over slot and charge.
        plain: the function is a `def`: a coroutine that it returns is a mistake, nobody would await it.
        discard: what becomes of an item that is never called; None: nothing.
        streams: what becomes of a stream that the function returns: None: it is a result like any other; "held": its
            call holds its slot until it ends; "read": by the worker, its chunks are the result; "handed out": its
            chunks are, as they come.
        timeout: seconds to wait for a stream's next chunk; None: no bound.
        permit: of which kind its calls are: the foreground's or the background's.
        hint: what to write, where the shape of an item explains its failure; None: nobody looks.
    """

    name: str
    call: Callable[[Any], Any]
    arguments: Callable[[Any], Arguments] | None
    budget: Budget
    retry: Retry | Literal[False] | None = None
    repeatable: Callable[[Any], bool] | None = None
    scope: type[Scope] = Scope
    plain: bool = False
    discard: Callable[[Any], None] | None = None
    streams: Literal["held", "read", "handed out"] | None = None
    timeout: float | None = None
    permit: type[Permit] = Permit
    hint: Callable[[Any, BaseException], str | None] | None = None
