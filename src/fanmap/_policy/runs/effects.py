"""What a flow answers with, and what it wants done: items, records, and words.

`take` and `poll` answer with an item, a record or a word (WAIT, END, FEED); what others are to be told is an effect:
WAKE_READER, WAKE_ALL, HIRE, or a `Wake` of some workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Literal

from typing_extensions import override

from fanmap._policy.runs.inputs import Entry, Unfinished

Begun = tuple[int, float, float]
"""attempts, queued, started: of an item that has no outcome yet, as an Outcome has them."""


class Word:
    """What to do next, where that is no item and no record."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    @override
    def __repr__(self) -> str:
        return self._name


Taken = Entry | Unfinished | Word
"""A worker's next item; one that came back; or what to do instead."""

Stop = bool | Literal["unanswered"]
"""Is no other item worth starting after this one? "unanswered": as nobody was answered for `max_wait`."""

WAIT: Final = Word("WAIT")  # until woken
END: Final = Word("END")  # nothing more to do
FEED: Final = Word("FEED")  # step the input once, then `push` or `end_input`
WAKE_READER: Final = Word("WAKE_READER")
WAKE_ALL: Final = Word("WAKE_ALL")  # every worker there is
HIRE: Final = Word("HIRE")  # a worker, counted already; `left` if that fails


@dataclass(frozen=True, slots=True)
class Wake:
    """Wake these workers."""

    workers: Sequence[Any]


class State(IntEnum):
    """How far a run has come; `flow` says what each means."""

    RUNNING = 0
    DRAINING = 1
    STOPPING = 2
    CLOSED = 3


class Reader(IntEnum):
    """What the reader of a run does; as above."""

    AWAY = 0
    WAITING = 1
    WOKEN = 2


RUNNING: Final = State.RUNNING
AWAY: Final = Reader.AWAY
WAITING: Final = Reader.WAITING
WOKEN: Final = Reader.WOKEN
CLOSED: Final = State.CLOSED
