"""Who observes a client's requests, and the functions that stand in a client's place and tell them.

Nothing is told unless an observer is set in this context. While a request is under way none is set, so what a client
sends within it is passed through. Nothing of ours gets out: an observer's failure is logged by its type.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextvars import ContextVar, Token
from typing import Any, NamedTuple, Protocol, cast

from fanmap._drive.notices import logger
from fanmap._drive.wire.wires import Wire


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
# Stands for the run whose `Unwind` was raised in this context: what goes on here has caught it.
unwound_by: ContextVar[object] = ContextVar("fanmap_unwound_by", default=None)
# Told of each request without an observer, from any thread; None: nobody wants to know.
unobserved: Callable[[Request], object] | None = None

Maker = Callable[[Any], Any]


def sync_hook(wire: Wire) -> Maker:
    """Makes, of a blocking method, one that tells."""

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
                reset(outside)

        return send

    return make


def async_hook(wire: Wire) -> Maker:
    """The same of an async one."""

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
                reset(outside)

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


def reset(outside: Token[Observer | None]) -> None:
    """Who observed before does so again."""
    try:
        observer.reset(outside)
    except ValueError:  # a coroutine that the collector closes, in whatever context that is
        pass
