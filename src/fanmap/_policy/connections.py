"""Failures on the way to the server: no answer came, so the class is all there is to read.

Pure. Classes are known by their name and top-level package along the MRO, never by import: most of
these clients are not installed, and subclasses of theirs count too.
"""

from __future__ import annotations

from collections.abc import Iterator

from fanmap._policy.replies import peek

_CLASSES: dict[str, frozenset[str]] = {
    "openai": frozenset({"APIConnectionError"}),  # also the base of APITimeoutError
    "anthropic": frozenset({"APIConnectionError", "RetryableError"}),
    "httpx": frozenset({"TransportError"}),
    "httpx2": frozenset({"TransportError"}),
    "httpcore": frozenset({"NetworkError", "TimeoutException", "RemoteProtocolError"}),
    "httpcore2": frozenset({"NetworkError", "TimeoutException", "RemoteProtocolError"}),
    "requests": frozenset({"ConnectionError", "Timeout", "ChunkedEncodingError"}),
    "urllib3": frozenset({"ProtocolError", "TimeoutError", "MaxRetryError"}),
    "aiohttp": frozenset({"ClientConnectionError", "ClientPayloadError"}),
    "botocore": frozenset({"ConnectionError", "HTTPClientError"}),
    "google": frozenset({"TransportError"}),  # google.auth.exceptions
    "socket": frozenset({"gaierror"}),  # a name that did not resolve
    "http": frozenset({"IncompleteRead"}),  # http.client
    "trio": frozenset({"TooSlowError"}),
}
"""By top-level package, as far up as one name covers the rest: subclasses are found along the MRO."""

_LOOP_MISUSE = ("event loop is closed", "different event loop", "different loop")

_LONGEST_CHAIN = 16


def is_connection_error(error: BaseException) -> bool:
    """Whether the connection failed or took too long, so that another try may get through."""
    if isinstance(error, (TimeoutError, ConnectionError)):
        return True
    names = [(cls.__module__.partition(".")[0], cls.__name__) for cls in type(error).__mro__]
    if any(name in _CLASSES.get(package, ()) for package, name in names):
        return True
    # urllib wraps what the socket raised; a reason that is a text is a wrong address.
    return ("urllib", "URLError") in names and isinstance(peek(error, "reason"), OSError)


def is_of_another_loop(error: BaseException) -> bool:
    """Whether something was used on another event loop than the one that it belongs to.

    An async client belongs to the event loop it first ran on; a second `asyncio.run` raises
    APIConnectionError from a RuntimeError (openai-python#1254), or the RuntimeError itself.
    """
    said = [str(one).lower() for one in chain(error) if isinstance(one, RuntimeError)]
    return any(text in what for what in said for text in _LOOP_MISUSE)


def is_misuse(error: BaseException) -> bool:
    """Whether it looks like a failed connection, yet can only fail again.

    A client on another loop; and an address without `http://`, which is a TransportError to httpx, an
    APIConnectionError to the clients built on it.
    """
    return is_of_another_loop(error) or any(
        cls.__name__ == "UnsupportedProtocol" for one in chain(error) for cls in type(one).__mro__
    )


def chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it came from."""
    current: BaseException | None = error
    for _ in range(_LONGEST_CHAIN):
        if current is None:
            return
        yield current
        current = current.__cause__ or current.__context__
