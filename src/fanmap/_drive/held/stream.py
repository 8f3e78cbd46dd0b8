"""What sync and async streams have in common: a call that is begun, goes on, and ends once."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any, NoReturn

from typing_extensions import override

from fanmap._drive.calls.scope import Scope, current_scope
from fanmap._drive.drivers.loops import me
from fanmap._drive.held.call import StreamCall
from fanmap._drive.notices import logger

scope_here = current_scope.get  # for each chunk
go_into = current_scope.set


class Held:
    """What both kinds of stream have in common.

    Args:
        new_call: of a stream that was not begun.
        call, inner: of one that was.
    """

    __slots__ = (
        "__weakref__", "_advance", "_busy", "_call", "_goes_on", "_inner", "_keep", "_new_call", "_over", "_scope",
        "_stands",
    )  # fmt: skip

    def __init__(
        self, new_call: Callable[[], StreamCall] | None, call: StreamCall | None = None, inner: Any = None
    ) -> None:
        self._new_call = new_call
        self._call: StreamCall | None = None
        self._inner = inner
        self._busy = False
        self._over = False
        self._advance: Callable[[], Any] | None = None  # to the next chunk, where nothing else is to be done for it
        self._keep: Callable[[Any], None] | None = None
        self._goes_on: Callable[[], None] | None = None
        self._stands: Callable[[int], None] | None = None
        self._scope: Scope | None = None
        if call is not None:
            self._scope = call.inside()
            self._go_on_with(call, inner, self._advancing(call, inner))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in Held.__slots__ or self._inner is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._inner, name)  # of the client's stream: its `response`

    @override
    def __reduce__(self) -> NoReturn:
        # Of two that read one stream, the first to be dropped would give its slot back.
        raise TypeError("a stream is read once and cannot be copied or pickled: write list(stream)")

    @override
    def __repr__(self) -> str:
        state = "over" if self._over else "not begun" if self._call is None else "under way"
        return f"<stream: {state}>"

    def _go_on_with(self, call: StreamCall, inner: Any, advance: Callable[[], Any]) -> None:
        self._call, self._inner = call, inner
        self._keep, self._goes_on, self._stands = call.chunks.append, call.stream_goes_on, call.stream_stands
        self._advance = advance
        self._stands(me())

    def _advancing(self, call: StreamCall, inner: Any) -> Callable[[], Any]:
        raise NotImplementedError

    def _step(self, step: Callable[..., Any], *args: Any) -> Any:
        """Go on by this step of a generator's instead of the usual one."""
        raise NotImplementedError

    def _is_read_elsewhere(self) -> bool:
        """Does its code run at this moment, as generators know it?"""
        inner = self._inner
        return bool(getattr(inner, "gi_running", False) or getattr(inner, "ag_running", False))

    def _end(self) -> None:
        self._over, self._advance = True, None
        call, self._call = self._call, None
        if call is not None:
            call.end()

    def _fail(self, error: BaseException) -> None:
        self._over, self._advance = True, None
        call, self._call = self._call, None
        if call is not None:
            call.fail(error)

    def __del__(self) -> None:
        call: StreamCall | None = getattr(self, "_call", None)  # Ctrl-C may come before `__init__`
        if call is not None:
            self._call = None
            call.end()
            with suppress(Exception):  # a handler's
                logger.debug("a stream of %s was dropped before its end: its slot is given back", call.plan.name)


def not_begun() -> Generator[None]:
    """Says what generators say before their first chunk: what is sent must be None, and what is thrown comes back."""
    yield
