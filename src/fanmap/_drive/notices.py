"""What fanmap says of its own accord: once each, through the standard library, and never a prompt."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable

from fanmap._policy.signals import Verdict

logger = logging.getLogger("fanmap")
logger.addHandler(logging.NullHandler())


def tell_of_client_retries(name: str) -> None:
    """A client repeats by itself under us: it hides refusals from the limits and multiplies attempts."""
    text = (
        f"the client that {name} calls repeats failed requests by itself, hidden from fanmap's limits: "
        "make it with max_retries=0, for instance OpenAI(max_retries=0)"
    )
    try:
        warnings.warn(text, stacklevel=2)
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
