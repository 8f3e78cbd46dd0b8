"""Arguments that a function of ours does not take, or lacks: what was meant, and where it is written."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from fanmap._hints.retries import on
from fanmap._hints.values import filled, is_number
from fanmap._hints.words import (
    INPUTS,
    MEANT,
    OF_CALLS,
    OF_CLASS,
    OF_LIMITS,
    OF_LIMITS_ALONE,
    OF_LIMITS_ELSEWHERE,
    OF_RUNS,
    SAID,
    STATUSES,
    STOPS,
    THE_FUNCTION,
)
from fanmap._types import JournalOptions


def misuse(function: Callable[..., Any], names: Iterable[str], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """What to write instead of these arguments, of which the function does not take all."""
    names = sorted((name for name in names if name != "self"), key=_places(function))
    what, rest, decorated = _called(function, args)
    unknown = [word for word in kwargs if word not in names]
    if unknown:
        if decorated is not None and not rest and "inputs" in names and "inputs" not in kwargs:
            for word in unknown:
                if word in INPUTS or word in (_parameters(decorated._function) or ())[:1]:
                    return f"{what}() got an unexpected keyword argument {word!r}: write {what}(inputs)"
        lines = dict.fromkeys(_line(what, word, kwargs[word], names, decorated) for word in unknown)
        to_write = [line.removeprefix("write ") for line in lines if line.startswith("write ")]
        said = [f"write {', '.join(to_write)}"] if to_write else []
        said += [line for line in lines if not line.startswith("write ")]
        kind = "an unexpected keyword argument" if len(unknown) == 1 else "unexpected keyword arguments"
        return f"{what}() got {kind} {', '.join(map(repr, unknown))}: {'; '.join(said)}"
    return _too_many(what, rest, decorated)


def unbound(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], error: TypeError) -> str:
    """What to write where an argument is missing, or is given twice."""
    what, _, _ = _called(function, args)
    try:
        given = inspect.signature(function).bind_partial(*args, **kwargs).arguments
    except TypeError:
        return str(error).replace(f"{function.__qualname__}()", f"{what}()")
    for name, parameter in inspect.signature(function).parameters.items():
        named = parameter.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        if named and parameter.default is parameter.empty and name not in given:
            lines = {
                "resume": 'resume="answers.jsonl", the file that holds the job',
                "amount": f"{what}(500, per=60)",
                "kind": f'{what}("rate")',
                "source": f"{what}(error)",
                "path": f'{what}("run.html")',
                "function": f"{what}(function), or @{what} without parentheses",
                "async_function": f"{what}(function), or @{what} without parentheses",
            }
            return f"{what}() needs {name}: write {lines.get(name, f'{what}({name})')}"
    return str(error)


def _called(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[str, tuple[Any, ...], Any]:
    """What the caller calls it, the arguments but for `self`, and the decorated function whose method it is."""
    owner, _, method = function.__qualname__.rpartition(".")
    if method == "__init__":
        return owner, args[1:], None
    if not owner or not args:
        return method, args, None
    name = getattr(args[0], "_name", None)
    decorated = args[0] if hasattr(args[0], "_function") else None
    return f"{name or owner}.{method}", args[1:], decorated


def no_place(
    function: Callable[..., Any], name: str, signature: inspect.Signature, kwargs: Mapping[str, Any], error: Exception
) -> str:
    """What to write where `.partial(...)` fixes arguments that the function does not have."""
    known = _parameters(function) or []
    for word in kwargs:
        if word not in signature.parameters:
            near = _near(word, known)
            advice = f"did you mean {near}=?" if near else f"it takes {', '.join(known) or 'no keyword arguments'}"
            if word in MEANT or word in OF_RUNS | OF_CALLS | OF_LIMITS | {"max_concurrency"}:
                advice = f"settings go to {name}.with_options(...), parallel_map(...) or the run"
            return f"{name}.partial() got an unexpected keyword argument {word!r}: {advice}"
    return f"{name}.partial(): {error}"


def _line(what: str, word: str, value: object, names: list[str], decorated: Any) -> str:
    if what == "Retry" and word in STATUSES:
        line = on(value).removeprefix(": write ")
        return f"write {line or 'on=...'}"
    if what == "Retry" and word == "retry" and not is_number(value):
        return "write on=..."
    own = OF_CLASS.get(what)
    if own is not None:
        for meant, words in own.items():
            if word in words.split():
                return f"write {filled(meant, value)}"
        return SAID[word] if what == "Retry" and word in SAID else _nearest(word, names)
    if what in ("to_sync", "to_async"):
        if word in THE_FUNCTION:
            return f"write {what}(function)"
        return f"{what} takes the function only, and settings belong to parallel_map"
    if what == "parallel_map" and word in THE_FUNCTION:
        return "write parallel_map(function)"
    if what == "parallel_map" and word in INPUTS:
        return "it belongs to a run, function.map(inputs)"
    if what == "gather_bounded" and word in INPUTS:
        return "write gather_bounded(coroutines)"
    if decorated is not None and word in (_parameters(decorated._function) or ()):
        return f"write {_name(decorated)}.partial({word}=...) first, for a value that all items share"
    if word in STOPS and value:
        return STOPS[word]
    if what == "Limits" and word in OF_LIMITS_ELSEWHERE:
        return f"write {filled(OF_LIMITS_ELSEWHERE[word], value)}"
    if word in SAID:
        return SAID[word]
    if word in INPUTS and "inputs" in names:
        return f"write {what}(inputs)"
    setting = _line_of(word)
    if setting is None:
        return _nearest(word, names, decorated)
    return _placed(what, filled(setting, value), names, decorated)


def _line_of(word: str) -> str | None:
    """The setting that is meant, to be filled; None: nobody knows."""
    if word == "retry":  # with a number for a Retry
        return "retry=Retry(attempts={n})"
    if word in ("return_exceptions", "progress", "unpack", "durable"):
        return f"{word}=True"
    if word in OF_CALLS | OF_LIMITS | {"max_concurrency", "deadline", "max_failures", "max_wait", "max_spend"}:
        return f"{word}={{n}}"
    if word in OF_RUNS | OF_LIMITS_ALONE or word == "limits":
        return f"{word}=..."
    return MEANT.get(word)


def _placed(what: str, line: str, names: list[str], decorated: Any) -> str:
    """Where that setting is written, seen from here."""
    setting = line.partition("=")[0]
    run = f"{'function' if decorated is None else _name(decorated)}.map(inputs, {line})"
    if setting in names:
        return f"write {line}"
    if setting in OF_RUNS:
        if what == "gather_bounded":
            if setting == "deadline":
                return "write `async with asyncio.timeout(...)` around it"
            return f"only runs of a decorated function have it: `await function.amap(inputs, {line})`"
        return f"it belongs to a run, {run}"
    if setting in OF_LIMITS_ALONE:
        return f"write limits=Limits({line})"
    if what == "Limits":
        return f"it belongs to the calls, parallel_map(limits=..., {line})"
    if decorated is not None and what.endswith(".with_options"):
        return f"write limits=Limits({line})"
    if decorated is not None:
        options = f"limits=Limits({line})" if setting in OF_LIMITS else line
        here = f"it belongs to the function, parallel_map({line}) or {_name(decorated)}.with_options({options})"
        whole = setting == "timeout" and "deadline" in names
        return f"{here}; for the whole run, write deadline{line.removeprefix(setting)}" if whole else here
    return f"write {line}"


def _nearest(word: str, names: list[str], decorated: Any = None) -> str:
    own = [] if decorated is None else _parameters(decorated._function) or []
    near = _near(word, [*names, *own])
    if near is not None:
        return f"did you mean {near}=?" if near in names else f"did you mean {_name(decorated)}.partial({near}=...)?"
    taken = f"it takes {', '.join(names)}"
    return taken if decorated is None else f"{taken}, and {_name(decorated)} has no argument with that name"


def _too_many(what: str, args: Sequence[Any], decorated: Any) -> str:
    number = args[1] if len(args) > 1 and is_number(args[1]) else None
    if what == "parallel_map":
        number = args[0] if args and is_number(args[0]) else number
        line = "(function).map(inputs)" if number is None else f"(function, {filled('max_concurrency={n}', number)})"
        return f"parallel_map() takes 1 positional argument, the function: write parallel_map{line}"
    if what in ("to_sync", "to_async"):
        return f"{what}() takes 1 positional argument, the function: write {what}(function)(...)"
    if what == "Limits":
        line = _listed(args, ("", "rpm", "tpm", "rate"))
        return f"Limits() takes 1 positional argument, max_concurrency: write Limits({line})"
    if what == "Retry":
        line = f"Retry({args[0] if is_number(args[0]) else 4}, on=..., wait=..., stop=..., total=...)"
        return f"Retry() takes 1 positional argument, attempts: write {line}"
    if what == "Rate":
        line = "Rate(amount, per, burst=..., cost=..., usage=...)"
        return f"Rate() takes 2 positional arguments, amount and per: write {line}"
    if what == "Adaptive":
        return "Adaptive() takes 3 positional arguments: write Adaptive(start=8, minimum=1, maximum=256)"
    if what.endswith(".with_options"):
        setting = {"Limits": "limits=...", "Retry": "retry=...", "Rate": "limits=Limits(rate=...)"}
        line = "timeout=30.0" if not args else setting.get(type(args[0]).__name__, "timeout=30.0")
        if args and is_number(args[0]):
            line = filled("max_concurrency={n}", args[0])
        return f"{what}() takes no positional arguments: write {what}({line})"
    known = [] if decorated is None else _parameters(decorated._function) or []
    line = f"{what}([one, two])"
    if number is not None:
        line = f"{what}(inputs, {filled('max_concurrency={n}', number)})"
    elif callable(args[0]):
        line = f"{what}(inputs)"
    elif any(isinstance(one, (list, tuple, range)) for one in args):
        line = f"{what}(zip(inputs, others), unpack=True)"
        if len(args) == 2 and (isinstance(args[1], (str, bool)) or args[1] is None) and len(known) > 1:
            name, _, method = what.rpartition(".")
            line = f"{name}.partial({known[1]}=...).{method}(inputs)"
    return f"{what}() takes 1 positional argument, the inputs: write {line}"


def _listed(args: Sequence[Any], names: tuple[str, ...]) -> str:
    shown = [repr(one) if is_number(one) else "..." for one in args]
    return ", ".join(f"{name}={one}" if name else one for name, one in zip(names, shown, strict=False))


def _places(function: Callable[..., Any]) -> Callable[[str], int]:
    """The order in which the function's signature, and then the journal's, has them."""
    order = [*inspect.signature(function).parameters, *JournalOptions.__annotations__]
    return order.index


def _near(word: str, known: Iterable[str]) -> str | None:
    found = difflib.get_close_matches(word, list(known), 1, 0.7)
    return found[0] if found else None


def _name(decorated: Any) -> str:
    return cast("str", decorated._name)


def _parameters(function: Callable[..., Any]) -> list[str] | None:
    """The names by which arguments can be given; None: nobody knows."""
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):
        return None
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [name for name, parameter in signature.parameters.items() if parameter.kind in by_name]
