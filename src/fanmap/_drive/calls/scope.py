"""A call under way, as its nested calls see it through the context."""

from __future__ import annotations

from contextvars import ContextVar
from typing import ClassVar

from typing_extensions import override

from fanmap._policy.limits.permit import Permit


class Scope:
    """One call under way.

    Attributes:
        budget: what it runs under; only its identity counts here.
        name: of the function.
        permit: its permit, whose slot it lends; None once the call has ended or has handed its permit on.
        outer: the call around it.
    """

    __slots__ = ("budget", "name", "outer", "permit")

    transferable: ClassVar[bool] = False  # is its permit for a call inside it to claim?

    def __init__(self, budget: object, permit: Permit, outer: Scope | None, name: str) -> None:
        self.budget = budget
        self.name = name
        self.permit: Permit | None = permit
        self.outer = outer

    def claim(self) -> Permit | None:
        """The permit, for a call inside this one that goes on with it."""
        return None

    def retain(self) -> bool:
        """The call is over: is the permit still its own? Asked again, the answer is the same."""
        return True


class TransferableScope(Scope):
    """One whose permit and charge are for the first call under the same Limits inside it to claim.

    Until it is over, and has retained them.
    """

    __slots__ = ("_retained", "_unclaimed")

    transferable = True

    def __init__(self, budget: object, permit: Permit, outer: Scope | None, name: str) -> None:
        super().__init__(budget, permit, outer, name)
        self._retained = False
        self._unclaimed = [permit]  # `pop` is one atomic step: one thread has it

    @override
    def claim(self) -> Permit | None:
        try:
            return self._unclaimed.pop()
        except IndexError:
            return None

    @override
    def retain(self) -> bool:
        self._retained = self._retained or self.claim() is not None
        return self._retained


current_scope: ContextVar[Scope | None] = ContextVar("fanmap_scope", default=None)


def enclosing(scope: Scope | None, budget: object) -> Scope | None:
    """The innermost call around this place that runs under the same Limits and still holds its slot."""
    while scope is not None:
        if scope.budget is budget and scope.permit is not None:
            return scope
        scope = scope.outer
    return None


def still_open(scope: Scope | None) -> Scope | None:
    """This scope, or the innermost around it whose call still holds a slot: what has ended need not be kept."""
    while scope is not None and scope.permit is None:
        scope = scope.outer
    return scope
