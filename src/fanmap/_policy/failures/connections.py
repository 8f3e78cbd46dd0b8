"""Failures on the way to the server: no answer came, so the class is all there is to read.

Pure. Classes are known by their name and top-level package along the MRO, never by import: most of
these clients are not installed, and subclasses of theirs count too.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from fanmap._policy.foreign import class_names, safe_getattr

_CLASSES: dict[str, frozenset[str]] = {
    "openai": frozenset({"APIConnectionError"}),  # also the base of APITimeoutError
    "anthropic": frozenset({"APIConnectionError", "RetryableError"}),
    "groq": frozenset({"APIConnectionError"}),
    "voyageai": frozenset({"APIConnectionError", "Timeout"}),
    "httpx": frozenset({"TransportError"}),
    "httpx2": frozenset({"TransportError"}),
    "httpcore": frozenset({"NetworkError", "TimeoutException", "RemoteProtocolError"}),
    "httpcore2": frozenset({"NetworkError", "TimeoutException", "RemoteProtocolError"}),
    "requests": frozenset({"ConnectionError", "Timeout", "ChunkedEncodingError", "RetryError"}),
    "urllib3": frozenset({"ProtocolError", "TimeoutError", "MaxRetryError"}),
    "aiohttp": frozenset({"ClientConnectionError", "ClientPayloadError"}),
    "botocore": frozenset({"ConnectionError", "HTTPClientError"}),
    "google": frozenset({"TransportError"}),  # google.auth.exceptions
    "socket": frozenset({"gaierror"}),  # a name that did not resolve
    "http": frozenset({"IncompleteRead"}),  # http.client
    "ssl": frozenset({"SSLEOFError", "SSLZeroReturnError"}),  # the other side hung up
    "trio": frozenset({"TooSlowError"}),
}
"""By top-level package, as far up as one name covers the rest: subclasses are found along the MRO."""

_TEMPLATE = frozenset({"APIConnectionError", "APITimeoutError"})
"""In the many clients that are generated from openai's template, whatever their package: of these what they were
raised from must be one, too."""

_NO_WAY = frozenset({
    errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.ENETRESET,
})  # fmt: skip
"""Of a plain OSError, as sockets and http.client raise it; of the others Python makes a ConnectionError."""

_LOOP_MISUSE = ("event loop is closed", "different event loop", "different loop")

_LONGEST_CHAIN = 16


def is_connection_error(error: BaseException) -> bool:
    """Whether the connection failed or took too long, so that another try may get through."""
    if isinstance(error, (TimeoutError, ConnectionError)) or (type(error) is OSError and error.errno in _NO_WAY):
        return True
    names = class_names(error)
    if any(name in _CLASSES.get(package, ()) for package, name in names):
        return True
    cause = error.__cause__
    if cause is not None and any(name in _TEMPLATE for _, name in names):
        cause_names = class_names(cause)
        return isinstance(cause, (TimeoutError, ConnectionError)) or any(
            name in _CLASSES.get(package, ()) for package, name in cause_names
        )
    # urllib wraps what the socket raised; a reason that is a text is a wrong address.
    return ("urllib", "URLError") in names and isinstance(safe_getattr(error, "reason"), OSError)


def is_of_another_loop(error: BaseException) -> bool:
    """Whether something was used on another event loop than the one that it belongs to.

    An async client belongs to the event loop it first ran on; a second `asyncio.run` raises
    APIConnectionError from a RuntimeError (openai-python#1254), or the RuntimeError itself.
    """
    said = [str(one).lower() for one in chain(error) if isinstance(one, RuntimeError)]
    return any(text in what for what in said for text in _LOOP_MISUSE)


def is_misuse(error: BaseException) -> bool:
    """Whether it looks like a failed connection, yet can only fail again.

    A client on another loop; an address without `http://`, and a header that HTTP does not allow (an API key that was
    read with its line end), which are a TransportError to httpx, an APIConnectionError to the clients built on it.
    """
    return is_of_another_loop(error) or any(_is_malformed(one) for one in chain(error))


def _is_malformed(error: BaseException) -> bool:
    names = {cls.__name__ for cls in type(error).__mro__}
    # h11's text, handed on by httpcore and httpx. Other LocalProtocolErrors are a connection's that was closed.
    return "UnsupportedProtocol" in names or (
        "LocalProtocolError" in names and str(error).lower().startswith("illegal header")
    )


def chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it came from."""
    current: BaseException | None = error
    for _ in range(_LONGEST_CHAIN):
        if current is None:
            return
        yield current
        current = current.__cause__ or current.__context__
