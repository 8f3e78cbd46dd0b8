"""Calls outside of a run: one direct call of a decorated function, and a `with limits:` block.

Each is a `Caller` with one item, whose outcome stays with it.
"""

from __future__ import annotations

import threading
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import override

from fanmap._drive.calls.caller import Caller
from fanmap._drive.calls.plan import END, Arguments, Plan, Word
from fanmap._drive.calls.scope import Scope, current_scope, still_open
from fanmap._errors import as_in_generator
from fanmap._policy.limits.permit import Owner, Permit
from fanmap._policy.runs.effects import Stop
from fanmap._raw import is_a

if TYPE_CHECKING:
    from fanmap._drive.wire.responses import Reader


class Single(Caller):
    """One direct call: its outcome stays here."""

    __slots__ = ("error", "value")

    def __init__(self, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any], owner: Owner) -> None:
        super().__init__(plan, current_scope.get(), owner, threading.get_ident())
        self.item = (args, kwargs)
        self.value: Any = None
        self.error: BaseException | None = None

    @override
    def _deliver(self, value: Any, error: BaseException | None, *, stop: Stop) -> Word:
        if error is not None and is_a(error, StopIteration):
            error = as_in_generator(self.plan.name, error)
        self.value, self.error = value, error
        self.quit()
        return END

    @override
    def _hold(self, stream: Any, kind: Literal["sync", "async"]) -> Word | None:
        from fanmap._drive.held import returned  # by the first call that has one

        self.value = returned.hold(self, stream, kind)
        self.quit()
        return END

    def hand_over(self, other: Single) -> None:
        """The other one goes on with the slot, the charge and what is read of responses."""
        if self._reader is not None:
            self._reader.leave()
            self._reader.hand_over(other)
        other._scope, other._permit, other._reader = self._scope, self._permit, self._reader
        other._outer, other._calls, other._refusals = self._outer, self._calls, self._refusals
        other._phase, other.started = self._phase, self.started
        other._guesses, other._learning = self._guesses, self._learning
        self._scope = self._permit = self._reader = self._attempts = None

    @override
    def quit(self) -> None:
        super().quit()
        current_scope.set(self._outer)  # also where it was cancelled in its back-off

    def result(self) -> Any:
        """What the call returned; raises what it raised."""
        error = self.error
        if error is None:
            return self.value
        try:
            raise error
        finally:
            self.error = None
            del error


class Block(Caller):
    """A `with limits:` block: admitted like a call, charged one unit of each rate, called by nobody.

    It may be left in another context or thread than it was entered in, as fixtures and frameworks do.

    Attributes:
        frame: the code whose block it is; None: nobody knows, or the block is over.
    """

    __slots__ = ("_inside", "frame")

    def __init__(self, plan: Plan, owner: Owner, frame: FrameType | None) -> None:
        super().__init__(plan, still_open(current_scope.get()), owner, threading.get_ident())
        self.frame = frame
        self._inside: Scope | None = None

    @override
    def _begin(self, permit: Permit, now: float) -> Word:
        todo = super()._begin(permit, now)
        self._inside = self._scope
        return todo

    @override
    def _deliver(self, value: Any, error: BaseException | None, *, stop: Stop) -> Word:
        begun = self._inside is not None
        self.quit()
        if error is not None and not begun:
            raise error  # its body does not run
        return END

    @override
    def quit(self) -> None:
        super().quit()
        self.frame = None
        inside, self._inside = self._inside, None
        if inside is not None and current_scope.get() is inside:  # another context's is not ours to change
            current_scope.set(self._outer)

    @property
    def reader(self) -> Reader | None:
        """Of the responses to what is asked inside it; None: nobody wants to know."""
        return self._reader

    def leave(self, error: BaseException | None) -> None:
        """The block is over; a refusal that came out of it brakes everybody."""
        self.tally = self.plan.budget.tally_of(threading.get_ident())
        if error is None:
            self.returned(None)
        else:
            self.raised(error)


def direct_arguments(item: Any) -> Arguments:
    """The arguments of a direct call, whose item they are."""
    return item  # type: ignore[no-any-return]
