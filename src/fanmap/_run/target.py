"""MODULE:FUNCTION, found, and made to run in parallel within the limits of the command line."""

from __future__ import annotations

import difflib
import importlib
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, cast

from fanmap import Limits, Retry, parallel_map
from fanmap._drive.limits.limits import budget_of, limit_spending
from fanmap._failure import CommandError
from fanmap._hints.values import a
from fanmap._run.calling import open_to_names
from fanmap._run.priced import price_text
from fanmap._stderr import say
from fanmap._ways import Parallel


def find(spec: str) -> Any:
    """The function of that name, from a module that the current directory may have.

    Raises:
        CommandError: there is none; or the module itself fails, whose traceback has then been shown.
    """
    module_name, colon, name = spec.partition(":")
    folder, right = _of_path(module_name)
    if not (colon and name and module_name) or module_name != right or not right.replace(".", "").isidentifier():
        if not colon and module_name.endswith((".csv", ".tsv", ".jsonl", ".ndjson", ".txt", ".json")):
            text = f"MODULE:FUNCTION comes before INPUT, got {spec!r}: write fanmap run job:FUNCTION {spec}"
            raise CommandError(text, status=2)
        shown = right if right.replace(".", "").isidentifier() else "job"
        renamed = right.replace("-", "_")
        if renamed != right and renamed.replace(".", "").isidentifier():  # my-job.py
            text = f"no module has a '-' in its name, got {spec!r}: rename it, and write {renamed}:{name or 'FUNCTION'}"
            raise CommandError(text, status=2)
        there = f", with PYTHONPATH={shlex.quote(folder)} in front of the command" if folder else ""
        text = f"MODULE:FUNCTION is required, got {spec!r}: write {shown}:{name or 'FUNCTION'}{there}"
        raise CommandError(text, status=2)
    module = _import(module_name)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise CommandError(f"{module_name} has no {name}{_perhaps(module, name)}", status=2)
        found = getattr(found, part)
    if not callable(found):
        raise CommandError(f"{spec} is not a function, it is {a(type(found).__name__)}", status=2)
    return found


def _of_path(module: str) -> tuple[str, str]:
    """The module that somebody has in mind who gives its path, and the folder where it is, if not below this one."""
    path = module.removesuffix(".py").replace("\\", "/").removeprefix("./")
    if path.startswith(("/", "../")):
        path = os.path.relpath(path)
    if path.startswith("../"):
        folder, name = os.path.split(os.path.abspath(path))
        return folder, name
    return "", ".".join(path.strip("/").split("/")).strip(".")


def _import(name: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise CommandError(f"there is no module {name} in {here}, and none is installed", status=2) from error
        _show(error)
    except SystemExit:
        why = "it ends the program: put that under `if __name__ == '__main__':`"
        raise CommandError(f"importing {name} failed: {why}", status=2) from None
    except Exception as error:
        _show(error)
    raise CommandError(f"importing {name} failed, as shown above", status=2)


def _show(error: Exception) -> None:
    """The traceback, from the user's own lines on."""
    trace = error.__traceback__
    while trace is not None and (
        trace.tb_frame.f_code.co_filename == __file__ or "importlib" in trace.tb_frame.f_code.co_filename
    ):
        trace = trace.tb_next
    say("".join(traceback.format_exception(error.with_traceback(trace))))


def _perhaps(module: ModuleType, name: str) -> str:
    names = [one for one, value in vars(module).items() if callable(value) and not one.startswith("_")]
    close = difflib.get_close_matches(name, names, n=1)
    return f": did you mean {close[0]}?" if close else ""


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits and retry of the command line; None: not given.

    Attributes:
        max_spend: in dollars.
        max_wait: in seconds.
        retry: attempts; False: repeat nothing.
    """

    max_concurrency: int | Literal["auto"] | None
    rpm: float | None
    tpm: float | None
    max_spend: float | None
    max_wait: float | None
    retry: int | Literal[False] | None

    @property
    def replaces_limits(self) -> bool:
        """Is one of those given that a budget is made of?"""
        return any(one is not None for one in (self.max_concurrency, self.rpm, self.tpm))


def prepare(function: Callable[..., Any], settings: Settings) -> Parallel[Any, Any]:
    """The decorated function. One that was decorated already keeps its own settings where none are given.

    Raises:
        CommandError: it cannot run in parallel.
    """
    try:
        return cast("Parallel[Any, Any]", _decorated(function, settings))
    except (TypeError, ValueError) as error:
        raise CommandError(str(error), status=2) from error
    except ImportError as error:
        raise CommandError(price_text(str(error)), status=2) from error


def _decorated(function: Any, settings: Settings) -> Any:
    repeats: Retry | Literal[False] | None = None
    if settings.retry is not None:
        repeats = False if settings.retry is False else Retry(attempts=settings.retry)
    if not isinstance(function, Parallel):
        limits = _limits(settings)
        if settings.max_spend is not None:
            limit_spending(limits, settings.max_spend)
        return parallel_map(limits=limits, retry=repeats)(open_to_names(function))
    whole: Any = function  # pyright: ignore[reportUnknownVariableType]
    changed: dict[str, Any] = {} if repeats is None else {"retry": repeats}
    if settings.replaces_limits:
        changed["limits"] = _limits(settings)
    prepared: Any = whole.with_options(**changed)
    if settings.max_spend is not None:
        limit_spending(prepared._settings.limits, settings.max_spend, priced_as=whole._settings.limits)
    if settings.max_wait is not None and not settings.replaces_limits:
        budget = budget_of(prepared._settings.limits)
        budget.max_wait = settings.max_wait
        budget.free()
    return prepared._copy(open_to_names(prepared._function), prepared._settings)


def _limits(settings: Settings) -> Limits:
    most = 8 if settings.max_concurrency is None else settings.max_concurrency
    max_wait = 300.0 if settings.max_wait is None else settings.max_wait
    return Limits(most, rpm=settings.rpm, tpm=settings.tpm, max_wait=max_wait)
