"""The one place where fanmap stands between a client and the wire.

A hook sits where tracing instrumentation sits: at `send` of httpx, httpx2 and requests, at aiohttp's
`ClientSession._request`, at botocore's `BaseClient._make_api_call`. It does nothing unless an observer is set in this
context, which is so inside a call under a Limits that asked for it. Then it tells the observer of each request and of
what came of it. An observer may look, or answer in place of the wire.

It is put in by the first such call, for the clients that are imported by then, and for others when they are.

- **One exchange is told once.** While a request is under way no observer is set, so what a client sends within it (a
  redirect, another client as its transport) and a second hook of ours further down are passed through.
- **Other hooks may come and go.** Instrumentation takes itself off by writing back what it found, or by the
  `__wrapped__` of what it finds. Ours shows whatever the function below it shows, so that neither way is disturbed;
  each call looks whether ours is on top, and puts one there if it is not (one further down would not do: a recorder
  that plays back does not ask it).
- **Threads are followed** one step: `Thread.start` and `ThreadPoolExecutor.submit`, called where an observer is set,
  carry that one variable along. (Tasks inherit it anyway.)
- **Nothing of ours gets out.** An observer's failure is logged by its type.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextvars import ContextVar, Token
from typing import Any, NamedTuple, Protocol, cast
from weakref import WeakSet

from fanmap._drive.imports import call_after_import
from fanmap._drive.notices import logger, warn_unknown_client
from fanmap._drive.wires import AIOHTTP, ASYNC_HTTPX, BOTOCORE, HTTPX, REQUESTS, Wire


class Request(NamedTuple):
    """A request on its way: its client, how that is read, and the arguments that the hooked method was called with."""

    client: Any
    wire: Wire
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Observer(Protocol):
    """Who is told of the requests of one call. From any thread, several at once."""

    def asked(self, request: Request) -> Any:
        """A request is about to go: None lets it; anything else is handed to the client as its response.

        An async client's may be answered with an awaitable of that. What this raises, the client sees raised.
        """

    def answered(self, request: Request, response: Any) -> None:
        """The wire's response, as the client is about to have it."""

    def failed(self, request: Request, error: BaseException) -> None:
        """No response: what the client is about to see raised."""


class Unwind(BaseException):
    """Raised by an observer that has taken a request down: through the client and out of the call that made it.

    A BaseException, so that `except Exception` and a client's own repeats let it by.
    """


observer: ContextVar[Observer | None] = ContextVar("fanmap_observer", default=None)
# Told of each request without an observer, from any thread; None: nobody wants to know.
unobserved: Callable[[Request], object] | None = None

_Maker = Callable[[Any], Any]


class _Target(NamedTuple):
    """A method to stand in front of; `takes` are the first parameters after self that it must have."""

    module: str
    owner: str
    method: str
    takes: tuple[str, ...]
    make: _Maker


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
        warn_unknown_client(f"{target.module}.{target.owner}.{target.method}")
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


def _sync_hook(wire: Wire) -> _Maker:
    def make(bound: Callable[[Any], Callable[..., Any]]) -> Any:
        def send(self: Any, *args: Any, **kwargs: Any) -> Any:
            watching = observer.get()
            if watching is None:
                if unobserved is not None:
                    _tell_unobserved(Request(self, wire, args, kwargs))
                return bound(self)(*args, **kwargs)
            request = Request(self, wire, args, kwargs)
            outside = observer.set(None)
            try:
                response = watching.asked(request)
                if response is not None:
                    return response
                try:
                    response = bound(self)(*args, **kwargs)
                except BaseException as error:
                    _tell(watching.failed, request, error)
                    raise
                _tell(watching.answered, request, response)
                return response
            finally:
                _reset(outside)

        return send

    return make


def _async_hook(wire: Wire) -> _Maker:
    def make(bound: Callable[[Any], Callable[..., Any]]) -> Any:
        async def send(self: Any, *args: Any, **kwargs: Any) -> Any:
            watching = observer.get()
            if watching is None:
                if unobserved is not None:
                    _tell_unobserved(Request(self, wire, args, kwargs))
                return await bound(self)(*args, **kwargs)
            request = Request(self, wire, args, kwargs)
            outside = observer.set(None)
            try:
                response = watching.asked(request)
                if isinstance(response, Coroutine):
                    response = await cast("Coroutine[Any, Any, Any]", response)
                if response is not None:
                    return response
                try:
                    response = await bound(self)(*args, **kwargs)
                except BaseException as error:
                    _tell(watching.failed, request, error)
                    raise
                _tell(watching.answered, request, response)
                return response
            finally:
                _reset(outside)

        return send

    return make


def _tell(told: Callable[[Request, Any], None], request: Request, what: Any) -> None:
    try:
        told(request, what)
    except Exception as failure:
        logger.debug("a response could not be read: %s", type(failure).__name__)


def _tell_unobserved(request: Request) -> None:
    told = unobserved
    try:
        if told is not None:
            told(request)
    except Exception as failure:
        logger.debug("a request could not be read: %s", type(failure).__name__)


def _reset(outside: Token[Observer | None]) -> None:
    try:
        observer.reset(outside)
    except ValueError:  # a coroutine that the collector closes, in whatever context that is
        pass


def _carrying_start(bound: Callable[[Any], Callable[..., Any]]) -> Any:
    def start(self: Any, *args: Any, **kwargs: Any) -> Any:
        watching = observer.get()
        put_back = _nothing if watching is None else _carry(self, watching)
        try:
            return bound(self)(*args, **kwargs)
        except BaseException:  # it was started before, or there are too many
            put_back()
            raise

    return start


def _nothing() -> None:
    pass


def _carry(thread: Any, watching: Observer) -> Callable[[], None]:
    """Have the thread begin with this observer; what this returns undoes it."""
    attributes: dict[str, Any] = thread.__dict__  # not by its own `__setattr__`, which may be anything
    own = attributes.get("run")
    try:
        run = thread.run
    except Exception as failure:
        logger.debug("a thread could not be followed: %s", type(failure).__name__)
        return _nothing

    def put_back() -> None:  # or the thread and this function would keep each other
        if own is None:
            attributes.pop("run", None)
        else:
            attributes["run"] = own

    def carried() -> None:
        put_back()
        observer.set(watching)
        try:
            run()
        except Unwind:  # which is not the thread's failure, and is told already
            pass

    attributes["run"] = carried
    return put_back


def _carrying_submit(bound: Callable[[Any], Callable[..., Any]]) -> Any:
    def submit(self: Any, *args: Any, **kwargs: Any) -> Any:
        watching = observer.get()
        if watching is None or not args:
            return bound(self)(*args, **kwargs)
        function, *rest = args

        def carried(*given: Any, **named: Any) -> Any:
            outside = observer.set(watching)
            try:
                return function(*given, **named)
            finally:
                _reset(outside)

        # The pool's thread, which this may start, lives longer than this call: it carries nothing itself.
        outside = observer.set(None)
        try:
            return bound(self)(carried, *rest, **kwargs)
        finally:
            _reset(outside)

    return submit


_TARGETS = (
    _Target("httpx", "Client", "send", ("request",), _sync_hook(HTTPX)),
    _Target("httpx", "AsyncClient", "send", ("request",), _async_hook(ASYNC_HTTPX)),
    _Target("httpx2", "Client", "send", ("request",), _sync_hook(HTTPX)),
    _Target("httpx2", "AsyncClient", "send", ("request",), _async_hook(ASYNC_HTTPX)),
    _Target("requests", "Session", "send", ("request",), _sync_hook(REQUESTS)),
    _Target("aiohttp", "ClientSession", "_request", ("method", "str_or_url"), _async_hook(AIOHTTP)),
    _Target("botocore.client", "BaseClient", "_make_api_call", ("operation_name", "api_params"), _sync_hook(BOTOCORE)),
    _Target("threading", "Thread", "start", (), _carrying_start),
    _Target("concurrent.futures.thread", "ThreadPoolExecutor", "submit", ("fn",), _carrying_submit),
)
