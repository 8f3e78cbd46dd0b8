"""Standard error, where there may be none: a daemon has closed it, a terminal has gone, a pipe's reader has left.

What a command says must never end what it does. Imported by every command line, so nothing else is imported here.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def say(text: str) -> None:
    """Write to standard error, where anybody can read it."""
    file = sys.stderr
    if file is None:  # pyright: ignore[reportUnnecessaryComparison]
        return
    try:
        file.write(text)
        file.flush()
    except BlockingIOError:  # full for the moment, and set not to wait
        pass
    except (OSError, ValueError):  # gone for good; what the file still holds would fail once more at the exit
        with suppress(OSError, ValueError):
            lead_nowhere(file.fileno())


def is_terminal() -> bool:
    """Is standard error a terminal?"""
    file = sys.stderr
    try:
        return file is not None and file.isatty()  # pyright: ignore[reportUnnecessaryComparison]
    except ValueError:  # closed by the user's module
        return False


def lead_nowhere(fd: int) -> None:
    """What is written to this descriptor from now on is dropped."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, fd)
    os.close(null)
