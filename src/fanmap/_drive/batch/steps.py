"""The steps of a batch job as values: each is yielded, and what came of it is sent back by whoever drives the job."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

from fanmap._drive.batch.posting import Posting
from fanmap._policy.batch.wire import Call

T = TypeVar("T")


class Pass(NamedTuple):
    """Run these items as far as they go; what became of them is told to the items."""

    indices: Sequence[int]


class Exchange(NamedTuple):
    """Send this; the answer and, where it was spooled, the file."""

    posting: Posting
    call: Call


class Sleep(NamedTuple):
    """Wait, in seconds."""

    seconds: float


Step: TypeAlias = Pass | Exchange | Sleep
Steps: TypeAlias = Generator[Step, Any, T]
