"""How one item ended, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, cast

from typing_extensions import TypeVar

from fanmap._raw import type_name

R_co = TypeVar("R_co", default=object, covariant=True)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Outcome(Generic[R_co]):
    """How one item of a run ended.

    Attributes:
        index: position of the input, from 0.
        value: what the function returned; None where it failed.
        error: what it raised, or `NotRun` or `DeadlineExceeded` where it was not run to its end; None
            where it returned.
        attempts: how often the function was called and not refused by the server; 0 where it never
            started.
        queued: when the item was taken from the input; seconds of one monotonic clock, as the next two.
        started: when its last attempt began (when it was given up, where it never began).
        ended: when it ended.
    """

    index: int
    value: R_co | None
    error: BaseException | None
    attempts: int
    queued: float
    started: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long its last attempt took: `ended - started`; 0.0 where it never began."""
        return self.ended - self.started

    def result(self) -> R_co:
        """What the function returned; raises what it raised.

        Raises:
            BaseException: the item's own failure.
        """
        if self.error is not None:
            __tracebackhide__ = True
            raise self.error
        return cast("R_co", self.value)

    if not TYPE_CHECKING:  # type checkers name what is missing by themselves

        def __getattr__(self, name: str) -> Any:
            from fanmap._hints import attributes  # only where something is wrong

            raise attributes.missing(self, "Outcome", name)

    def __repr__(self) -> str:
        state = "ok" if self.error is None else f"failed with {type_name(self.error)}"
        return f"<Outcome {self.index}: {state} after {self.ended - self.queued:.3f} s>"
