"""Ctrl-C while a command is still being imported, which takes a moment: a line, and no traceback of imports.

Imported first of all. Only where Python was started as `fanmap`, or any script of that name, or `python -m fanmap`: all
other programs that import fanmap have Ctrl-C as they had it.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn


def _is_command() -> bool:
    first = sys.argv[0] if sys.argv else ""
    if first == "-m":  # what it names is not found yet
        before = sys.orig_argv[-len(sys.argv) :][:1]  # the word before the arguments
        return before == ["fanmap"] or any(word.startswith("-") and word.endswith("mfanmap") for word in before)
    # `multiprocessing` gives a child the arguments of its parent, but not its command line.
    return first in sys.orig_argv and os.path.splitext(os.path.basename(first))[0] == "fanmap"


def _leave(number: int, frame: object) -> NoReturn:
    del frame
    try:
        os.write(2, b"\n" * os.isatty(2) + b"fanmap: interrupted\n")
    except OSError:  # nobody reads it
        pass
    os._exit(128 + number)


def import_is_over() -> None:
    """From now on Ctrl-C is a KeyboardInterrupt again, for which the command has words."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if _is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    try:
        signal.signal(signal.SIGINT, _leave)
    except ValueError:  # not the main thread
        pass
