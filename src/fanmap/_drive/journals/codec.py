"""How one function's inputs get keys, and its results become text and come back; what is said where they do not.

Whatever a user's class raises when it is looked at (but for Ctrl-C) becomes our own error, which names types and
indices: a run never ends with *that* one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fanmap._errors import NotRun
from fanmap._policy.journals.journal import Keys
from fanmap._policy.journals.kept import NOTHING_SPENT, Spent
from fanmap._policy.journals.plain import Unkeepable, why_not
from fanmap._raw import INTERRUPTS, type_name


class NotKept(Exception):
    """Raised by an encoder for a result that is handed on, and asked for again by the next run."""


class NotBegun(NotRun):
    """Raised by a function that has not begun with its item: there is nothing to keep of it."""


class Unfit(Exception):
    """Raised for a result that does not fit what the function says that it returns; it can be asked for again."""


class Undecodable(Exception):
    """Raised where the user's `decode` fails; its text says how."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class KeyedInput:
    """An input, and the key under which its result is kept; None: it is nothing that can be called.

    Attributes:
        spent: by its calls so far, of one that goes on with another worker.
    """

    item: Any
    key: str | None
    spent: Spent = NOTHING_SPENT


@dataclass(frozen=True, slots=True, eq=False)
class Codec:
    """How a function's items and results are kept.

    Attributes:
        name: of the function, for messages.
        parts: what of an item makes its key; None where it cannot even be called.
        encode: a result as JSON text, and is it what the annotation says? An exception where it has none; NotKept
            where the run goes on without it.
        decode: the result again, where it is to be what the annotation says or comes back as it is.
        asks_again: a result that `decode` refuses is asked for again; else (a `decode` of the user's) it is an error:
            with a mistake in it, everything would be.
    """

    name: str
    parts: Callable[[Any], tuple[Any, ...] | None]
    encode: Callable[[Any], tuple[str, bool]]
    decode: Callable[[Any, bool], Any]
    asks_again: bool

    def attach_key(self, item: Any, index: int, keys: Keys) -> KeyedInput:
        """The input with its key.

        Raises:
            TypeError: it has none; any other exception is the user's `key`'s own.
        """
        parts = self.parts(item)
        if parts is None:
            return KeyedInput(item, None)
        try:
            return KeyedInput(item, keys.key(*parts))
        except INTERRUPTS:
            raise
        except BaseException as error:
            what = "" if type(error) is Unkeepable else f" of type {type_name(item)}"
            raise TypeError(
                f"cannot derive a journal key for input {index}{what} of {self.name}: {why_not(error, 'reading')}. "
                "Pass key=, a function returning a string for each input."
            ) from error

    def to_text(self, value: Any, index: int) -> tuple[str, bool]:
        """As `encode`.

        Raises:
            TypeError: this result cannot be kept.
            NotKept: nor need it be.
        """
        try:
            return self.encode(value)
        except (*INTERRUPTS, NotKept):
            raise
        except BaseException as error:
            why, kind = why_not(error, "encoding"), type_name(value)
            raise TypeError(
                f"resume= cannot store the {'result' if kind in why else kind} of item {index} of {self.name}: {why}. "
                "Annotate the return type with a dataclass, a pydantic model or JSON types, or pass encode= "
                "and decode=."
            ) from error

    def from_kept(self, said: dict[str, Any], index: int) -> Any:
        """The result that a line of the journal holds.

        Raises:
            Unfit, Undecodable: it is none any more.
        """
        try:
            return self.decode(said["value"], not said.get("as_is"))
        except INTERRUPTS:
            raise
        except BaseException as error:
            if self.asks_again:
                raise Unfit from error
            raise Undecodable(
                f"has a result for item {index} of {self.name} that cannot be decoded ({why_not(error, 'decoding')}): "
                "if the function or its results have changed, change version="
            ) from error
