"""A stream that a direct call has returned: from now on it holds the slot."""

from __future__ import annotations

from typing import Any, Literal

from fanmap._drive.calls.direct import Single
from fanmap._drive.held.async_stream import HeldAsyncGenerator, HeldAsyncStream
from fanmap._drive.held.call import StreamCall
from fanmap._drive.held.stream import Held
from fanmap._drive.held.sync_stream import HeldGenerator, HeldStream
from fanmap._policy.streams import is_generator


def hold(single: Single, stream: Any, kind: Literal["sync", "async"]) -> Held:
    """The stream that this call has returned, and that holds its slot from now on."""
    call = StreamCall.of(single)
    is_sent = is_generator(type(stream))  # pyright: ignore[reportUnknownArgumentType]
    if kind == "sync":
        return (HeldGenerator if is_sent else HeldStream)(None, call, stream)
    return (HeldAsyncGenerator if is_sent else HeldAsyncStream)(None, call, stream)
