"""How each client's response is read: duck-typed, by its public face, and no further than its reader has read it.

None of the clients is imported here. A body that is not there yet is seen as its reader takes it: a piece at a time
through the response's own method, which is put back when the reading begins.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping
from typing import Any, cast

from typing_extensions import override

from fanmap._policy.body import Documents, Passing, Pieces
from fanmap._policy.foreign import as_mapping
from fanmap._policy.hidden import client_retries, urllib3_repeats

Pairs = Iterable[tuple[str | bytes, str | bytes]]


class Wire:
    """One kind of client. What it answers here is what httpx, httpx2 and requests agree on."""

    def status(self, response: Any) -> int:
        """Its HTTP status."""
        return response.status_code  # type: ignore[no-any-return]

    def headers(self, response: Any) -> Pairs:
        """Its headers, as pairs."""
        return response.headers.items()  # type: ignore[no-any-return]

    def body(self, response: Any) -> object:
        """Its body: bytes or, where the client has parsed it already, the document; None: it has not been read."""
        raise NotImplementedError

    def watch(self, response: Any, *, events: bool, encoded: bool) -> Passing:
        """See its body as its reader takes it.

        Args:
            response: whose body has not been read.
            events: it is a stream of server-sent events.
            encoded: it is compressed.
        """
        raise NotImplementedError

    def mark(self, response: Any, marks: Mapping[str, str]) -> None:
        """Set these headers, where the client can be told something by them."""
        response.headers.update(marks)

    def repeats(self, response: Any) -> int:  # noqa: ARG002
        """How often the client itself had sent this request before, inside the hooked method."""
        return 0

    def repeats_before(self, error: Exception) -> int:
        """The same, of a request that came to nothing but this."""
        return self.repeats(getattr(error, "response", None))

    def model(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:  # noqa: ARG002
        """The model that the request names, where the response does not."""
        return None

    def address(self, response: Any) -> str:
        """What was asked, without a query, which may hold a key."""
        return str(response.url).partition("?")[0]


class _Httpx(Wire):
    """httpx and httpx2."""

    def __init__(self, *, is_async: bool) -> None:
        self._is_async = is_async

    @override
    def headers(self, response: Any) -> Pairs:
        raw: Pairs = response.headers.raw  # `items()` would decode and merge them all
        return raw

    @override
    def body(self, response: Any) -> object:
        # `content` raises as long as it has not been read.
        try:
            return response.content
        except Exception:
            return None

    @override
    def watch(self, response: Any, *, events: bool, encoded: bool) -> Passing:
        passing = Pieces(events=events)
        # `iter_bytes` takes its bytes from `iter_raw`, and all else from `iter_bytes`.
        name = "iter_bytes" if encoded else "iter_raw"
        if self._is_async:
            _see(response, "a" + name, passing, _pass_on_async)
        else:
            _see(response, name, passing, _pass_on)
        return passing


class _Requests(Wire):
    @override
    def body(self, response: Any) -> object:
        # Not `content`: with stream=True that reads the socket. What has been read is kept under this name.
        content = _stored(response).get("_content")
        return content if isinstance(content, bytes) else None

    @override
    def watch(self, response: Any, *, events: bool, encoded: bool) -> Passing:
        passing = Pieces(events=events)
        _see(response, "iter_content", passing, _pass_on)  # decoded, and everything else goes through it
        return passing

    @override
    def repeats(self, response: Any) -> int:
        return urllib3_repeats(response) or 0  # an adapter's `max_retries`

    @override
    def repeats_before(self, error: Exception) -> int:
        return client_retries(error)


class _Aiohttp(Wire):
    @override
    def status(self, response: Any) -> int:
        return response.status  # type: ignore[no-any-return]

    @override
    def body(self, response: Any) -> object:
        return None  # nothing is read when the headers are handed over

    @override
    def watch(self, response: Any, *, events: bool, encoded: bool) -> Passing:
        passing = Pieces(events=events)
        # What comes out of it is decoded, unless the session was told not to.
        response.content = _of_class(_watched_reader, response.content)(response.content, passing)
        return passing

    @override
    def mark(self, response: Any, marks: Mapping[str, str]) -> None:
        pass  # its headers cannot be set, and it repeats nothing by itself


class _Botocore(Wire):
    @override
    def status(self, response: Any) -> int:
        return response["ResponseMetadata"]["HTTPStatusCode"]  # type: ignore[no-any-return]

    @override
    def headers(self, response: Any) -> Pairs:
        return response["ResponseMetadata"]["HTTPHeaders"].items()  # type: ignore[no-any-return]

    @override
    def body(self, response: Any) -> object:
        return response

    @override
    def watch(self, response: Any, *, events: bool, encoded: bool) -> Passing:
        passing = Documents()
        for value in response.values():
            if (type(value).__module__, type(value).__name__) == ("botocore.eventstream", "EventStream"):
                value.__class__ = _of_class(_watched_events, value)
                value.fanmap_passing = passing
        return passing

    @override
    def mark(self, response: Any, marks: Mapping[str, str]) -> None:
        pass

    @override
    def repeats(self, response: Any) -> int:
        answer = as_mapping(response)
        metadata = None if answer is None else as_mapping(answer.get("ResponseMetadata"))
        said = None if metadata is None else metadata.get("RetryAttempts")
        return said if isinstance(said, int) and 0 < said < 1000 else 0

    @override
    def address(self, response: Any) -> str:
        return "https://bedrock-runtime.us-east-1.amazonaws.com"  # by which Bedrock's prices are known

    @override
    def model(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
        parameters = as_mapping(args[1] if len(args) > 1 else kwargs.get("api_params"))
        model = None if parameters is None else parameters.get("modelId")
        return model if isinstance(model, str) else None


HTTPX = _Httpx(is_async=False)
ASYNC_HTTPX = _Httpx(is_async=True)
REQUESTS = _Requests()
AIOHTTP = _Aiohttp()
BOTOCORE = _Botocore()


def _stored(response: Any) -> dict[str, Any]:
    """Attributes that are the object's own."""
    return cast("dict[str, Any]", vars(response))


def _see(response: Any, name: str, passing: Pieces, pass_on: Callable[[Any, Pieces], Any]) -> None:
    """Stand in for this method of this response until it is called."""

    def watched(*args: Any, **kwargs: Any) -> Any:
        _stored(response).pop(name, None)  # which also ends the cycle of the response and this function
        return pass_on(getattr(response, name)(*args, **kwargs), passing)

    setattr(response, name, watched)


def _feed(passing: Pieces, piece: Any) -> None:
    if isinstance(piece, (bytes, bytearray)):
        passing.feed(piece)
    elif isinstance(piece, str):  # requests, with decode_unicode=True
        passing.feed(piece.encode("utf-8", "replace"))


def _pass_on(pieces: Any, passing: Pieces) -> Generator[Any]:
    try:
        for piece in pieces:
            _feed(passing, piece)
            yield piece
    finally:
        passing.passed = True
        close = getattr(pieces, "close", None)
        if close is not None:
            close()


async def _pass_on_async(pieces: Any, passing: Pieces) -> AsyncGenerator[Any]:
    try:
        async for piece in pieces:
            _feed(passing, piece)
            yield piece
    finally:
        passing.passed = True
        close = getattr(pieces, "aclose", None)
        if close is not None:
            await close()


_classes: dict[object, Any] = {}


def _of_class(make: Callable[[Any], Any], one: Any) -> Any:
    """What this makes of the object's class, once."""
    key: tuple[object, object] = make, type(cast("object", one))
    if key not in _classes:
        _classes[key] = make(type(one))
    return _classes[key]


def _watched_reader(kind: Any) -> Any:
    """A class of aiohttp's stream readers that hands everything to the reader behind it, and sees what is read."""

    class WatchedReader(kind):  # type: ignore[misc]
        __slots__ = ("fanmap_passing", "fanmap_reader")
        fanmap_passing: Pieces
        fanmap_reader: Any

        def __init__(self, reader: Any, passing: Pieces) -> None:
            object.__setattr__(self, "fanmap_reader", reader)
            object.__setattr__(self, "fanmap_passing", passing)

        def __getattribute__(self, name: str) -> Any:
            if name in _OWN:
                return object.__getattribute__(self, name)
            return getattr(self.fanmap_reader, name)

        def _saw(self, piece: Any) -> None:
            _feed(self.fanmap_passing, piece)
            self.fanmap_passing.passed = self.fanmap_reader.at_eof()

        def __setattr__(self, name: str, value: object) -> None:
            setattr(self.fanmap_reader, name, value)

        async def readchunk(self) -> Any:
            chunk: Any = await self.fanmap_reader.readchunk()
            self._saw(chunk[0])
            return chunk

        def read_nowait(self, n: int = -1) -> Any:
            piece: Any = self.fanmap_reader.read_nowait(n)
            self._saw(piece)
            return piece

    def seen(name: str) -> Any:
        async def read(self: Any, *args: Any, **kwargs: Any) -> Any:
            piece = await getattr(self.fanmap_reader, name)(*args, **kwargs)
            self._saw(piece)
            return piece

        return read

    for name in _READS:
        setattr(WatchedReader, name, seen(name))
    return WatchedReader


_READS = ("read", "readany", "readexactly", "readline", "readuntil")
_OWN = frozenset({
    *_READS, "readchunk", "read_nowait", "_saw", "fanmap_reader", "fanmap_passing", "__class__",
    # These read by the methods above, of whichever object they are called on.
    "iter_any", "iter_chunked", "iter_chunks", "__aiter__",
})  # fmt: skip


def _watched_events(kind: Any) -> Any:
    """A class of botocore's event streams that sees the events as they are iterated."""

    def events(self: Any) -> Generator[Any]:
        for event in kind.__iter__(self):
            self.fanmap_passing.note(event)
            yield event
        self.fanmap_passing.passed = True

    return type(kind.__name__, (kind,), {"__iter__": events, "__module__": kind.__module__, "fanmap_passing": None})
