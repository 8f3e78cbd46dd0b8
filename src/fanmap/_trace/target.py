"""`trace=`: where the drawing of a run goes, checked before the first call and written when the run is over."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from contextlib import suppress
from typing import Any, Final, cast

from fanmap._drive.notices import warn_of_trace
from fanmap._drive.runs.run import Run
from fanmap._drive.tracing import story_of
from fanmap._policy.trace.events import trace_json
from fanmap._policy.trace.story import Story, untold
from fanmap._trace.page import page

_ENDINGS: Final = (".html", ".json")


class Target:
    """A path that can be written, to which a run is drawn when it is over."""

    def __init__(self, trace: object) -> None:
        self._given = check_path(trace)
        self._path = os.path.abspath(self._given)  # the run may change the directory
        check_writable(self._given)

    def draw(self, run: Run) -> None:
        """Write it; what fails is said, and ends nothing: the answers are paid for."""
        try:
            write(story_of(run), self._path)
        except Exception as error:
            warn_of_trace(self._given, error)


def check_path(trace: object) -> str:
    """A path whose ending says what is wanted, or an error that names the parameter."""
    if not isinstance(trace, (str, os.PathLike)):
        raise TypeError(f"trace must be the path of a .html or .json file or None, got {type(trace).__name__}")
    path: Any = os.fspath(cast("str | os.PathLike[str]", trace))
    if not isinstance(path, str) or not path.lower().endswith(_ENDINGS) or "\0" in path:
        raise ValueError(f"trace must be a path that ends in .html or .json, got {path!r}")
    return path


def check_writable(path: str) -> None:
    """Open it once, or, where it is not there, a file beside it; what is there stays.

    Raises:
        OSError: it cannot be written.
    """
    try:
        if not os.path.exists(path):
            beside = _beside(path)
            with open(beside, "wb"):
                pass
            os.remove(beside)
        elif not stat.S_ISFIFO(os.stat(path).st_mode):  # nobody need read a pipe yet
            with open(path, "ab"):
                pass
    except OSError as error:
        raise type(error)(error.errno, f"trace cannot be written: {_why(error, path)}", path) from error


def _why(error: OSError, path: str) -> str | None:
    if os.path.isdir(os.path.dirname(os.path.realpath(path))):
        return error.strerror
    from fanmap._hints import values  # only where something is wrong

    return f"its folder does not exist{values.home(path)}"


def _beside(path: str) -> str:
    """A file of this thread's own, in the directory of what is meant (a symbolic link stays one)."""
    return f"{os.path.realpath(path)}.{os.getpid()}-{threading.get_ident()}.part"


def write(story: Story, path: str) -> None:
    """Draw it to that path.

    A file is replaced in one step: who opens it meanwhile, or draws to it as well, never sees half of a drawing.

    Raises:
        OSError: it cannot be written.
    """
    text = trace_json(story) if path.lower().endswith(".json") else page(story)
    data = text.encode("utf-8", "backslashreplace")  # a name may hold half of a surrogate pair
    try:
        special = not stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        special = False
    if special:
        _write_through(path, data)
        return
    path, beside = os.path.realpath(path), _beside(path)
    try:
        opened = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
    except OSError:  # there can be no second file in this directory
        _write_through(path, data)
        return
    try:
        with open(opened, "wb") as file:
            file.write(data)
    except BaseException:
        with suppress(OSError):
            os.remove(beside)
        raise
    with suppress(OSError):
        shutil.copymode(path, beside)
    os.replace(beside, path)


def _write_through(path: str, data: bytes) -> None:
    # A pipe that nobody reads is an error: a run that is over waits for no reader.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    opened = os.open(path, flags, 0o666)
    if hasattr(os, "set_blocking"):
        os.set_blocking(opened, True)
    with open(opened, "wb") as file:
        file.write(data)


def trace_now(run: Run | None, trace: object, name: str) -> None:
    """Draw a run as it is now; None: one that has not begun.

    Raises:
        TypeError, ValueError, OSError: the path is none, or cannot be written.
    """
    path = check_path(trace)
    check_writable(path)
    write(untold(name) if run is None else story_of(run), path)
