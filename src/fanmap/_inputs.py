"""What a run takes as its inputs: an iterable of items, and nothing that only looks like one."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any, cast


def sync_inputs(inputs: Any, what: str) -> Sequence[Any] | Iterator[Any]:
    """What a run takes as its source: a sequence that workers may index, or an iterator."""
    check_inputs(inputs, what)
    # Exactly these: a subclass may iterate otherwise than it indexes. A range may be longer than any length.
    if type(inputs) in (list, tuple) or (type(inputs) is range and length_of(inputs) is not None):
        return cast("Sequence[Any]", inputs)
    return cast("Iterator[Any]", iter(inputs))


def length_of(inputs: object) -> int | None:
    """How many inputs there are, where they say so; an iterator may have been begun."""
    if not isinstance(inputs, Sized) or isinstance(inputs, Iterator):
        return None
    try:
        return len(inputs)
    except (TypeError, OverflowError):  # as of those that only pretend to have a length; as of range(10**20)
        return None


def check_inputs(inputs: object, what: str) -> None:
    """Inputs are an iterable of items: not one text, which would be taken letter by letter, and no table of columns."""
    if type(inputs) in (list, tuple, range):
        return
    if isinstance(inputs, (str, bytes, bytearray)):
        raise TypeError(f"{what} must be given an iterable of inputs, got one {type(inputs).__name__}: write [text]")
    table: object = inputs
    if isinstance(inputs, AsyncIterable):
        if not isinstance(inputs, Iterable):
            raise _not_inputs(table, what, "an iterable")
    elif isinstance(inputs, Awaitable):  # iterating a future is awaiting it
        raise _not_inputs(table, what, "an iterable of inputs")
    if isinstance(inputs, Mapping) or is_table(table):
        from fanmap._hints import values  # only where something is wrong

        raise TypeError(
            f"{what} must be given an iterable of inputs, got {values.kind(table)}: {values.inputs(table, what)}"
        )
    if not isinstance(inputs, Iterable):
        raise _not_inputs(inputs, what, "an iterable of inputs")


def _not_inputs(inputs: object, what: str, wanted: str) -> TypeError:
    from fanmap._hints import values  # only where something is wrong

    return TypeError(f"{what} must be given {wanted}, got {values.kind(inputs)}{values.not_inputs(inputs, what)}")


def is_table(inputs: object) -> bool:
    """Is it a table whose iteration gives columns (pandas, polars, pyarrow and their kin), or their names?"""
    kind = type(inputs)
    return hasattr(kind, "columns") and any(
        hasattr(kind, rows) for rows in ("itertuples", "iter_rows", "itercolumns", "collect_schema")
    )


def afresh(value: Any) -> Any:
    """The input as it was given, whatever a function adds to its lists and dicts: messages grow by their answers."""
    try:
        return _copied(value, {})
    except RecursionError:
        return value


def _copied(value: Any, made: dict[int, Any]) -> Any:
    """`made`: the copies of what has been met, as one list may be there twice."""
    kind = cast("type[Any]", type(value))
    if kind not in (dict, list, tuple):
        return value
    if id(value) in made:
        return made[id(value)]
    copy: Any
    if kind is tuple:
        copy = tuple([_copied(member, made) for member in value])
    elif kind is list:
        copy = made[id(value)] = list[Any]()
        copy.extend(_copied(member, made) for member in value)
    else:
        copy = made[id(value)] = dict[Any, Any]()
        copy.update((key, _copied(member, made)) for key, member in value.items())
    made[id(value)] = copy
    return copy
