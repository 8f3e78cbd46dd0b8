"""MODULE:FUNCTION, found, and made to run in parallel within the limits of the command line."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any, Literal, cast

from fanmap import Limits, Retry, parallel_map
from fanmap._failure import Failure
from fanmap._ways import Parallel

Concurrency = int | Literal["auto"] | None


def find(spec: str) -> Any:
    """The function of that name, from a module that the current directory may have.

    Raises:
        Failure: there is none; or the module itself fails, whose traceback has then been shown.
    """
    module_name, colon, name = spec.partition(":")
    parts = module_name.removesuffix(".py").replace("\\", "/").removeprefix("./").strip("/").split("/")
    right = ".".join(parts)
    if not (colon and name and module_name) or module_name != right or not right.replace(".", "").isidentifier():
        shown = right if right.replace(".", "").isidentifier() else "job"
        raise Failure(f"MODULE:FUNCTION is wanted, got {spec!r}: write {shown}:{name or 'FUNCTION'}", status=2)
    module = _import(module_name)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise Failure(f"{module_name} has no {name}{_perhaps(module, name)}", status=2)
        found = getattr(found, part)
    if not callable(found):
        raise Failure(f"{spec} is not a function but a {type(found).__name__}", status=2)
    return found


def _import(name: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise Failure(f"there is no module {name} in {here}, nor is one installed", status=2) from error
        _show(error)
    except SystemExit:
        why = "it ends the program: put that under `if __name__ == '__main__':`"
        raise Failure(f"importing {name} failed: {why}", status=2) from None
    except Exception as error:
        _show(error)
    raise Failure(f"importing {name} failed, as shown above", status=2)


def _show(error: Exception) -> None:
    """The traceback, from the user's own lines on."""
    trace = error.__traceback__
    while trace is not None and (
        trace.tb_frame.f_code.co_filename == __file__ or "importlib" in trace.tb_frame.f_code.co_filename
    ):
        trace = trace.tb_next
    traceback.print_exception(error.with_traceback(trace))


def _perhaps(module: ModuleType, name: str) -> str:
    names = [one for one, value in vars(module).items() if callable(value) and not one.startswith("_")]
    close = difflib.get_close_matches(name, names, n=1)
    return f": is it {close[0]}?" if close else ""


def prepare(
    function: Callable[..., Any],
    *,
    max_concurrency: Concurrency,
    rpm: float | None,
    tpm: float | None,
    retry: int | Literal[False] | None,
) -> Parallel[Any, Any]:
    """The decorated function. One that was decorated already keeps its own settings where none are given.

    Raises:
        Failure: it cannot run in parallel.
    """
    repeats: Retry | Literal[False] | None = Retry(attempts=retry) if retry else None if retry is None else False
    prepared: Any
    try:
        if isinstance(function, Parallel):
            limits = None
            if max_concurrency is not None or rpm is not None or tpm is not None:
                limits = Limits(8 if max_concurrency is None else max_concurrency, rpm, tpm)
            whole: Any = function  # pyright: ignore[reportUnknownVariableType]
            prepared = whole.with_options(limits=limits, retry=repeats)
        else:
            prepared = parallel_map(max_concurrency=max_concurrency, rpm=rpm, tpm=tpm, retry=repeats)(function)
    except (TypeError, ValueError) as error:
        raise Failure(str(error), status=2) from error
    return cast("Parallel[Any, Any]", prepared)
