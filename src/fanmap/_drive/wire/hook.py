"""The one place where fanmap stands between a client and the wire.

A hook sits where tracing instrumentation sits: at `send` of httpx, httpx2 and requests, at aiohttp's
`ClientSession._request`, at botocore's `BaseClient._make_api_call`. It does nothing unless an observer is set in this
context, which is so inside a call under a Limits that asked for it. Then it tells the observer (`observing`) of each
request and of what came of it. An observer may look, or answer in place of the wire.

It is put in by the first such call, for the clients that are imported by then, and for others when they are.

- **One exchange is told once.** While a request is under way no observer is set, so what a client sends within it (a
  redirect, another client as its transport) and a second hook of ours further down are passed through.
- **Other hooks may come and go.** Instrumentation takes itself off by writing back what it found, or by the
  `__wrapped__` of what it finds. Ours shows whatever the function below it shows, so that neither way is disturbed;
  each call looks whether ours is on top, and puts one there if it is not (one further down would not do: a recorder
  that plays back does not ask it).
- **Threads are followed** one step: `Thread.start` and `ThreadPoolExecutor.submit`, called where an observer is set,
  carry that one variable along (`carrying`). Tasks inherit it anyway.
- **Nothing of ours gets out.** An observer's failure is logged by its type.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from weakref import WeakSet

from fanmap._drive.notices import warn_of_unknown_client
from fanmap._drive.wire.carrying import carrying_start, carrying_submit
from fanmap._drive.wire.imports import call_after_import
from fanmap._drive.wire.observing import Maker, async_hook, sync_hook
from fanmap._drive.wire.wires import AIOHTTP, ASYNC_HTTPX, BOTOCORE, HTTPX, REQUESTS


class _Target(NamedTuple):
    """A method to stand in front of; `takes` are the first parameters after self that it must have."""

    module: str
    owner: str
    method: str
    takes: tuple[str, ...]
    make: Maker


def ensure() -> None:
    """See to it that a hook of ours is in each client that is imported; cheap where that is so."""
    for target, (methods, found) in _in_place.items() if _in_place else ():
        if methods.get(target.method) is not found:
            break
    else:
        if not _not_watching_imports:
            return
    put_in_all()
    try:
        _not_watching_imports.pop()
    except IndexError:  # that has been done
        return
    call_after_import(frozenset(target.module for target in _TARGETS), put_in_all)


# No lock: two that put a hook in at the same time leave two, of which one tells.
_ours: WeakSet[Any] = WeakSet()  # every function that stands in front of another
# The methods of the class, and what was found among them last: ours, or what nobody here knows. Never changed in place.
_in_place: dict[_Target, tuple[Mapping[str, Any], Any]] = {}
_unknown: set[_Target] = set()
_not_watching_imports = [None]


def look_for_new() -> None:
    """As `ensure`, for clients too that have been imported without a word."""
    if len(sys.modules) != _modules:
        put_in_all()


_modules = -1  # how many there were when they were looked at last


def put_in_all() -> None:
    """Put a hook in each client that is imported, whatever was known of it."""
    global _in_place, _modules
    in_place, modules = dict(_in_place), len(sys.modules)
    for target in _TARGETS:
        module = sys.modules.get(target.module)
        owner: Any = getattr(module, target.owner, None)
        if owner is not None:
            in_place[target] = owner.__dict__, _put_in(target, owner)
        elif module is not None:  # it is being imported: to be looked at again
            modules = -1
    _in_place, _modules = in_place, modules


def _put_in(target: _Target, owner: Any) -> Any:
    found = owner.__dict__.get(target.method)
    if not callable(found) or _is_ours(found):
        return found
    if _takes(found, target.takes):
        found = _disguised(target.make(_binder(found)), found)
        _ours.add(found)
        setattr(owner, target.method, found)
    elif target not in _unknown:
        _unknown.add(target)
        warn_of_unknown_client(f"{target.module}.{target.owner}.{target.method}")
    return found


def _is_ours(function: Any) -> bool:
    try:
        return function in _ours
    except TypeError:  # no weak references, or no hash
        return False


def _takes(function: Callable[..., Any], names: tuple[str, ...]) -> bool:
    """Are these its first parameters after self, or does it hand on whatever it is given?"""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return False
    if parameters and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
        return True
    rest = parameters[1:]
    if rest and rest[0].kind is inspect.Parameter.VAR_POSITIONAL:
        return True
    return tuple(one.name for one in rest[: len(names)]) == names


def _binder(below: Any) -> Callable[[Any], Callable[..., Any]]:
    """Makes of an instance what `instance.method` was before us: a wrapper's own binding counts, a mock has none."""
    bind = getattr(below, "__get__", None)
    return (lambda _: below) if bind is None else bind


def _disguised(function: Any, below: Any) -> Any:
    """Ours, with all that `below` shows of itself: whoever asks it for `__wrapped__` means what it would have meant."""
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        value = getattr(below, name, None)
        if value is not None:
            setattr(function, name, value)
    function.__wrapped__ = below
    function.__dict__.update(getattr(below, "__dict__", {}))
    return function


_TARGETS = (
    _Target("httpx", "Client", "send", ("request",), sync_hook(HTTPX)),
    _Target("httpx", "AsyncClient", "send", ("request",), async_hook(ASYNC_HTTPX)),
    _Target("httpx2", "Client", "send", ("request",), sync_hook(HTTPX)),
    _Target("httpx2", "AsyncClient", "send", ("request",), async_hook(ASYNC_HTTPX)),
    _Target("requests", "Session", "send", ("request",), sync_hook(REQUESTS)),
    _Target("aiohttp", "ClientSession", "_request", ("method", "str_or_url"), async_hook(AIOHTTP)),
    _Target("botocore.client", "BaseClient", "_make_api_call", ("operation_name", "api_params"), sync_hook(BOTOCORE)),
    _Target("threading", "Thread", "start", (), carrying_start),
    _Target("concurrent.futures.thread", "ThreadPoolExecutor", "submit", ("fn",), carrying_submit),
)
