"""How a body that is not there yet is seen as its reader takes it.

A piece at a time: through the response's own method, which is put back when the reading begins, or through a class of
ours around aiohttp's readers and botocore's event streams.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, cast

from fanmap._policy.tokens.body import Pieces


def stored(response: Any) -> dict[str, Any]:
    """Attributes that are the object's own."""
    return cast("dict[str, Any]", vars(response))


def see(response: Any, name: str, passing: Pieces, pass_on: Callable[[Any, Pieces], Any]) -> None:
    """Stand in for this method of this response until it is called."""

    def watched(*args: Any, **kwargs: Any) -> Any:
        stored(response).pop(name, None)  # which also ends the cycle of the response and this function
        return pass_on(getattr(response, name)(*args, **kwargs), passing)

    setattr(response, name, watched)


def _feed(passing: Pieces, piece: Any) -> None:
    if isinstance(piece, (bytes, bytearray)):
        passing.feed(piece)
    elif isinstance(piece, str):  # requests, with decode_unicode=True
        passing.feed(piece.encode("utf-8", "replace"))


def pass_on(pieces: Any, passing: Pieces) -> Generator[Any]:
    """The pieces, as they were, each seen on its way."""
    try:
        for piece in pieces:
            _feed(passing, piece)
            yield piece
    finally:
        passing.passed = True
        close = getattr(pieces, "close", None)
        if close is not None:
            close()


async def pass_on_async(pieces: Any, passing: Pieces) -> AsyncGenerator[Any]:
    """The same of an async iterator."""
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


def of_class(make: Callable[[Any], Any], one: Any) -> Any:
    """What this makes of the object's class, once."""
    key: tuple[object, object] = make, type(cast("object", one))
    if key not in _classes:
        _classes[key] = make(type(one))
    return _classes[key]


def watched_reader(kind: Any) -> Any:
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


def watched_events(kind: Any) -> Any:
    """A class of botocore's event streams that sees the events as they are iterated."""

    def events(self: Any) -> Generator[Any]:
        for event in kind.__iter__(self):
            self.fanmap_passing.note(event)
            yield event
        self.fanmap_passing.passed = True

    return type(kind.__name__, (kind,), {"__iter__": events, "__module__": kind.__module__, "fanmap_passing": None})
