"""A decorated function as a function among functions: its settings, its copies, and how it is pickled."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from typing_extensions import override

from fanmap._callables import name_of
from fanmap._drive.calls.plan import Plan
from fanmap._drive.limits.limits import Limits
from fanmap._plan import UNCHANGED, Settings, Unchanged, check_calls, check_limits, check_workers, make_plan
from fanmap._policy.runs.attempt import Retry
from fanmap._public import public
from fanmap._types import Stats


class Decorated:
    """A function, and what its calls run under."""

    _is_async = False  # without an annotation: from Python 3.14 on, `__annotations__` of an instance would be that

    def __init__(self, function: Callable[..., Any], settings: Settings) -> None:
        for name, value in getattr(function, "__dict__", {}).items():
            if not hasattr(type(self), name):  # a callable object may have a `map` of its own
                self.__dict__[name] = value
        functools.update_wrapper(cast("Callable[..., Any]", self), function, updated=())
        self._function = function
        self._settings = settings
        self._plans: dict[tuple[str, bool, bool], Plan] = {}
        self._name = name_of(function)

    # What it runs under

    @property
    def limits(self) -> Limits:
        """The `Limits` that its calls run under."""
        return self._settings.limits

    @property
    def stats(self) -> Stats:
        """Where its limits stand, over everything that ran under them: `limits.stats`."""
        return self._settings.limits.stats

    # Copies

    @public
    def with_options(
        self,
        *,
        max_concurrency: int | Unchanged | None = UNCHANGED,
        retry: Retry | Literal[False] | Unchanged | None = UNCHANGED,
        timeout: float | Unchanged | None = UNCHANGED,
        limits: Limits | Unchanged | None = UNCHANGED,
    ) -> Self:
        """A copy with other settings, which shares the limits unless it is given others.

        What is not given stays as it was.

        Args:
            max_concurrency: calls at once in its runs, where a run says nothing else; never above the limits. None:
                as many as they allow.
            retry: as for `parallel_map`; None: only what the server refused to start is sent again.
            timeout: seconds for one attempt; None: no bound.
            limits: other limits, to share; None: limits of its own, as those of `parallel_map()`.
        """
        settings = self._settings
        if max_concurrency is not UNCHANGED and max_concurrency is not None:
            check_workers(max_concurrency)
        if limits is None:
            limits = Limits()
        elif limits is not UNCHANGED:
            check_limits(limits)
        check_calls(None if retry is UNCHANGED else retry, None if timeout is UNCHANGED else timeout)
        return self._copy(
            self._function,
            Settings(
                limits=settings.limits if limits is UNCHANGED else limits,
                retry=settings.retry if retry is UNCHANGED else retry,
                timeout=settings.timeout if timeout is UNCHANGED else timeout,
                workers=settings.workers if max_concurrency is UNCHANGED else max_concurrency,
            ),
        )

    def _copy(self, function: Callable[..., Any], settings: Settings) -> Self:
        copy = type(self)(function, settings)
        copy._name = self._name
        return copy

    # Being a function

    if not TYPE_CHECKING:  # type checkers name what is missing by themselves

        def __getattr__(self, name: str) -> Any:
            text = f"{type(self).__name__!r} object has no attribute {name!r}"
            if not name.startswith("_"):
                from fanmap._hints import attributes  # only where something is wrong

                line = attributes.attribute(name, self._name, is_async=self._is_async)
                text = text if line is None else f"{text}: {line}"
            raise AttributeError(text, name=name, obj=self)

    @override
    def __repr__(self) -> str:
        return f"<parallel {self._name} under {self._settings.limits!r}>"

    # A class that was decorated is still one to subclass and to ask `isinstance` of.

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[Any, ...]:
        if not isinstance(self._function, type):
            raise TypeError(f"a class cannot inherit from {self._name}, which is a decorated function")
        return (self._function,)

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, cast("type", self._function))

    def __subclasscheck__(self, subclass: type) -> bool:
        return issubclass(subclass, cast("type", self._function))

    def __copy__(self) -> Self:  # as functions have it
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    @override
    def __reduce__(self) -> Any:
        owner = getattr(self._function, "__self__", None)
        name = getattr(self._function, "__name__", "")
        if owner is not None and inspect.ismethod(self._function):
            bound = getattr(owner, name, None)
            if isinstance(bound, Decorated) and bound._settings is self._settings:
                return getattr, (owner, name)
        from fanmap._drive.limits import carried  # only where it is pickled

        module, qualified = getattr(self, "__module__", "?"), getattr(self, "__qualname__", "?")
        found = carried.is_found(self, module, qualified)
        if found and module != "__main__":
            return qualified
        place = "" if qualified == "?" else f" ({module}.{qualified})"  # a partial has no name
        why_not = (
            f"{self._name} cannot be pickled: only a decorated function that is found under its own name{place} can; "
            "cloudpickle takes any by value, as joblib, ray, dask and pyspark do"
        )
        name_here = (module, qualified) if found else None
        return carried.reduced(type(self), (self._function, self._settings), name_here, why_not)

    def __setstate__(self, state: Any) -> None:
        from fanmap._drive.limits import carried

        parts = carried.parts_of(state)
        if parts is not None:
            self.__init__(*parts)  # type: ignore[misc]

    # Inside

    def _plan(self, where: str, *, unpack: bool = False, direct: bool = False) -> Plan:
        """How an item becomes a call, there; made once and shared."""
        key = where, unpack, direct
        plan = self._plans.get(key)
        if plan is None:
            plan = make_plan(self._function, self._settings, where, unpack=unpack, direct=direct)
            self._plans[key] = plan
        return plan
