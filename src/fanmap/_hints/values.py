"""Values that a setting, the inputs or an awaitable cannot be: the line to write instead."""

from __future__ import annotations

import datetime
import functools
import inspect
import numbers
import os
import re
import sys
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, cast

from typing_extensions import TypeIs

_SETTING_OF = {"Limits": "limits", "Retry": "retry", "Rate": "rate", "Adaptive": "max_concurrency"}
_METHODS = ("invoke", "run", "predict", "generate", "create", "forward")  # of objects that call a model, first come


def decorated(value: object) -> str:
    """What to write instead of `parallel_map(value)`, where it is no function."""
    kind_of = type(value)
    kind = kind_of.__name__
    if kind in _SETTING_OF:
        return f"write parallel_map({_SETTING_OF[kind]}=...)"
    if is_number(value) or is_auto(value):
        return f"write parallel_map({filled('max_concurrency={n}', value)})"
    if inspect.iscoroutine(value):
        return "write the function without calling it, parallel_map(function)"
    if isinstance(value, (property, functools.cached_property)):
        return f"write @{kind} above @parallel_map"
    for name in _METHODS:
        if callable(inspect.getattr_static(kind_of, name, None)):
            return f"write parallel_map(obj.{name}), where obj is your {kind}"
    return "write parallel_map(function), and give the inputs to .map(inputs)"


def concurrency(value: object) -> str:
    """What to write for a `max_concurrency` that is no number; empty: nobody knows."""
    kind = type(value).__name__
    if kind in _SETTING_OF:
        return f": write {_SETTING_OF[kind]}=..."
    if isinstance(value, str):
        text = value.strip().lower()
        if text == "auto":
            return ': write "auto"'
        return f": write {text}" if text.isdecimal() else ""
    if isinstance(value, type) and value.__name__ == "Adaptive":
        return ": write Adaptive()"
    return ": write the number of calls at once" if hasattr(value, "acquire") else count(value)


def limits(value: object) -> str:
    """What to write for a `limits` that is none; empty: nobody knows."""
    kind = type(value).__name__
    if is_number(value):
        shown = filled("{n}", value)
        count = "..." if "." in shown else shown
        return f": write limits=Limits({count}) for {count} at once, or limits=Limits(rpm={shown}) for {shown} a minute"
    if kind in _SETTING_OF:
        return f": write {_SETTING_OF[kind]}=..."
    if isinstance(value, Mapping):
        return ": write limits=Limits(**settings)"
    if isinstance(value, str):
        return ": write limits=Limits(shared=...) for one that several processes name"
    if isinstance(value, type) and value.__name__ == "Limits":
        return ": write limits=Limits()"
    if hasattr(value, "with_options"):
        return ": write limits=function.limits"
    if hasattr(value, "acquire"):
        return ": write limits=Limits(max_concurrency=...)"
    return ": a function has one Limits, which may have several rates" if isinstance(value, (list, tuple)) else ""


def rate(value: object) -> str:
    """What to write for a rate that is a number, a pair of numbers or text; empty: nobody knows."""
    if is_number(value):
        shown = filled("{n}", value)
        return f": write rate=Rate({shown}, per=1.0) for {shown} a second, or rpm={shown} for {shown} a minute"
    if value is None:
        return ": leave it out, or write rate=()"
    if is_auto(value):
        return ': write rpm="auto" or tpm="auto"'
    if number(value) or (isinstance(value, type) and value.__name__ == "Rate"):
        return ": write rate=Rate(amount, per)"
    if isinstance(value, (tuple, list)):
        pair = cast("list[Any]", value)
        if len(pair) == 2 and is_number(pair[0]):
            per = pair[1] if is_number(pair[1]) else as_seconds(pair[1])
            return "" if per is None else f": write rate=Rate({pair[0]!r}, per={per!r})"
    if isinstance(value, str):
        found = re.fullmatch(_RATE, value.lower())
        if found:
            per = float(found[2] or 1) * _UNITS[found[3][0]]
            return f": write rate=Rate({found[1].replace(',', '_')}, per={per!r})"
    return ""


def seconds(value: object) -> str:
    """What to write for a time that is a word, or no number of Python's own; empty: nobody knows."""
    amount = as_seconds(value)
    return number(value) if amount is None else f": write {amount!r}, in seconds"


def number(value: object) -> str:
    """What to write for a number that is not Python's own, as numpy's and Decimal; empty: it is none."""
    if isinstance(value, (int, float, complex)) or not isinstance(value, numbers.Number):
        return ""
    return ": write int(value)" if isinstance(value, numbers.Integral) else ": write float(value)"


def count(value: object) -> str:
    """The same, of a whole number."""
    return number(value) if isinstance(value, numbers.Integral) else ""


def home(path: str | os.PathLike[str]) -> str:
    """What to write for a path that means the home folder as a shell does; empty: it does not."""
    return ": write os.path.expanduser(path)" if "~" in Path(path).parts else ""


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# As they are written, so that "500ms" and "1 month" are no minutes.
_SPAN = r"(\d+(?:\.\d+)?)?\s*(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)\s*"
_RATE = r"\s*(\d[\d_,]*(?:\.\d+)?)\s*r?(?:/|per|a|p)?\s*" + _SPAN


def as_seconds(value: object) -> float | None:
    """A span of time that is spelled out, in seconds; None: it is not."""
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, str):
        found = re.fullmatch(r"\s*" + _SPAN, value.lower())
        if found:
            return float(found[1] or 1) * _UNITS[found[2][0]]
    return None


def progress(value: object) -> str:
    """What to write for a `progress` that is a bar; empty: nobody knows."""
    return ": write progress=True for a bar" if hasattr(value, "update") else ""


def not_inputs(value: object, what: str) -> str:
    """What to write for inputs that cannot be iterated; empty: nobody knows."""
    if value is None:
        return ""
    if inspect.isawaitable(value):
        return ": await it first"
    if hasattr(value, "add_done_callback"):  # a thread pool's
        return f": write {what}(future.result())"
    if isinstance(value, AsyncIterable):
        name = what.rpartition(".")[0]
        return f": write `await {name}.amap(inputs)` or `async for ... in {name}.imap(inputs)`"
    if hasattr(value, "get") and hasattr(value, "put"):
        if inspect.iscoroutinefunction(cast("Any", value).get):
            return ": write an async generator that yields `await queue.get()`"
        return f": write {what}(iter(queue.get, None)), which ends at the first None"
    if hasattr(value, "__fspath__"):
        return f": write {what}(open(path)) for the lines of a file"
    if callable(value):
        return ": call it, and give what it returns"
    if hasattr(type(value), "__getitem__"):  # as torch's data sets, which `iter` counts through
        return f": write {what}(list(inputs))"
    return f": for a single input write {what.rpartition('.')[0]}(item)"


def inputs(value: object, what: str) -> str:
    """What to write for inputs that are a mapping or a table of columns."""
    if isinstance(value, Mapping):
        return f"write {what}(inputs.items(), unpack=True), {what}(inputs.values()) or {what}(list(inputs))"
    kind = type(value)
    column = f'write {what}(inputs["COLUMN"]) for one column'
    if hasattr(kind, "itertuples"):
        return f"{column}, or {what}(inputs.itertuples(index=False), unpack=True) for its rows"
    if hasattr(kind, "iter_rows"):
        return f"{column}, or {what}(inputs.iter_rows(named=True), unpack=True) for its rows"
    if hasattr(kind, "itercolumns"):
        return f"{column.replace(']', '].to_pylist()')}, or {what}(inputs.to_pylist(), unpack=True) for its rows"
    return f'write {what}(inputs.collect()["COLUMN"]) for one column'


def unpacked(item: object) -> str:
    """What to write for inputs that hold arguments, and are no tuples, lists or mappings."""
    kind = type(item)
    if hasattr(kind, "keys") or hasattr(kind, "model_fields"):  # a row of sqlite3, a Series, a pydantic model
        return ": write map(dict, inputs)"
    if hasattr(kind, "__dataclass_fields__"):
        return ": write map(dataclasses.asdict, inputs)"
    if isinstance(item, Iterable) and not isinstance(item, (str, bytes, bytearray, Set)):  # a row of an array
        return ": write map(tuple, inputs)"
    return ": without unpack=True, each input is one argument"


def gathered(value: object, beside: Sequence[object]) -> str:
    """What to write where `gather_bounded` is given something that nobody can await, beside other things."""
    lists: list[object] = [one for one in beside if isinstance(one, Iterable) and not isinstance(one, (str, bytes))]
    functions = [one for one in beside if callable(one)]
    for one in beside:
        if is_number(one):
            return f"write gather_bounded({'' if lists else '*'}coroutines, max_concurrency={one!r})"
        if type(one).__name__ == "Limits":
            return f"write gather_bounded({'' if lists else '*'}coroutines, limits=...)"
        if hasattr(one, "acquire"):
            return f"write gather_bounded({'' if lists else '*'}coroutines, max_concurrency=...)"
    if isinstance(value, Mapping):
        return "write gather_bounded(coroutines.values())"
    if functions and lists:
        name = getattr(functions[0], "__name__", "function")
        if hasattr(functions[0], "amap"):
            return f"write `await {name}.amap(inputs)`"
        return f"write gather_bounded({name}(item) for item in inputs)"
    if lists:
        return "write gather_bounded(coroutines) with one iterable, or gather_bounded(*coroutines, *others)"
    if hasattr(value, "add_done_callback"):
        return "write asyncio.wrap_future(future)"
    return "if a blocking function returned it, decorate that function and write `await function.amap(inputs)`"


def kind(value: object) -> str:
    """The kind of a value with its article, as English has it; None is None."""
    return "None" if value is None else a(type(value).__name__)


def a(word: str) -> str:
    """The word with its article, as English has it."""
    return f"{'an' if word[:1].lower() in 'aeiou' else 'a'} {word}"


_COUNTS = ("max_concurrency=", "attempts=", "retry=", "max_failures=", "max_waiting=", "start=", "minimum=", "maximum=")


def filled(line: str, value: object) -> str:
    """The setting with a user's number in it, where it is one that the setting takes; else with dots."""
    if line.startswith("max_concurrency=") and (is_auto(value) or value == -1):  # -1 is joblib's "all"
        return line.format(n='"auto"')
    if line in ("rpm={n}", "tpm={n}") and is_auto(value):
        return line.format(n='"auto"')
    if "{more}" in line and value == 0 and is_number(value):  # no repeats
        return "retry=False" if line.startswith("retry=") else line.format(more=1)
    if not is_number(value) or not 0 < value <= sys.float_info.max:  # `math.isfinite` raises for a larger int
        return line.format(n="...", more="...")
    number = int(value) if float(value).is_integer() else value
    if isinstance(number, float) and line.startswith(_COUNTS):
        return line.format(n="...", more="...")
    return line.format(n=repr(number), more=repr(number + 1))


def is_auto(value: object) -> bool:
    """Is it the word "auto"?"""
    return isinstance(value, str) and value == "auto"


def is_number(value: object) -> TypeIs[int | float]:
    """An int or a float; True is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
