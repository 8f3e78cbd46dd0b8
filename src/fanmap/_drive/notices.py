"""What fanmap says of its own accord: once each, through the standard library, and never a prompt."""

from __future__ import annotations

import builtins
import logging
import os
import sys
import warnings
from collections.abc import Callable

from fanmap._policy.signals import Verdict

logger = logging.getLogger("fanmap")
logger.addHandler(logging.NullHandler())
_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep


def tell_of_client_retries(name: str) -> None:
    """A client repeats by itself under us: it hides refusals from the limits and multiplies attempts."""
    text = (
        f"the client that {name} calls repeats failed requests by itself, hidden from fanmap's limits: "
        "make it with max_retries=0, for instance OpenAI(max_retries=0)"
    )
    _advise(text)


_told_of_blocking = False


def tell_of_blocking(name: str) -> None:
    """A blocking run stops the event loop that runs here; once a process, and not in a notebook, where that is how."""
    global _told_of_blocking
    if _told_of_blocking or _in_ipython():
        return
    _told_of_blocking = True
    _advise(
        f"a blocking run of {name} stops the event loop that runs here, and everything else on it, until it ends: "
        f"write `await {name}.amap(...)` or `async for ... in {name}.imap(...)`"
    )


def tell_of_damage(path: str, lines: int) -> None:
    """Records of a journal that cannot be believed."""
    _advise(f"resume={path!r}: {lines} damaged record(s) skipped, their items run again")


def tell_of_broken_journal(error: Exception) -> None:
    """What finished is in the caller's hands, and not all of it in the file."""
    _advise(f"results were not kept: {error}")


def _in_ipython() -> bool:
    # IPython puts this name where every module finds it, and is not imported to be asked.
    return hasattr(builtins, "get_ipython")


def _advise(text: str) -> None:
    try:
        if sys.version_info >= (3, 12):
            warnings.warn(text, skip_file_prefixes=(_PACKAGE,))
        else:
            warnings.warn(text, stacklevel=3)
    except Warning:  # warnings are errors here; a run must not die of advice
        logger.warning(text)


def classified(classify: Callable[[BaseException], object], error: BaseException) -> Verdict | None:
    """The user's own reading; one that fails, or is no Verdict, is logged and reads as None."""
    try:
        verdict = classify(error)
    except Exception as failure:
        logger.error("classify raised %s on a %s: read without it", type(failure).__name__, type(error).__name__)
        return None
    if verdict is None or isinstance(verdict, Verdict):
        return verdict
    logger.error("classify must return a Verdict or None, got a %s: read without it", type(verdict).__name__)
    return None
