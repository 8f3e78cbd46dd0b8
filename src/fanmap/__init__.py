"""Run the function you already have, the one that calls an LLM, over many inputs at once."""

import sys as _sys
import typing as _typing

from fanmap import _early as _early
from fanmap import types as types
from fanmap._bridge import to_async, to_sync
from fanmap._drive.limits.limits import Limits
from fanmap._errors import (
    BatchError,
    BatchPending,
    BridgeError,
    BudgetExceeded,
    Busy,
    CallTimeout,
    DeadlineExceeded,
    JournalError,
    NotRun,
    SharedUnavailable,
    TooManyFailures,
)
from fanmap._functions import AsyncParallelFunction, ParallelFunction
from fanmap._gather import gather_bounded
from fanmap._map import parallel_map
from fanmap._outcome import Outcome
from fanmap._partial import partial_results
from fanmap._policy.failures.verdict import Verdict
from fanmap._policy.limits.adaptive import Adaptive
from fanmap._policy.limits.rate import Rate
from fanmap._policy.runs.attempt import Retry

__all__ = [
    "Adaptive",
    "AsyncParallelFunction",
    "BatchError",
    "BatchPending",
    "BridgeError",
    "BudgetExceeded",
    "Busy",
    "CallTimeout",
    "DeadlineExceeded",
    "JournalError",
    "Limits",
    "NotRun",
    "Outcome",
    "ParallelFunction",
    "Rate",
    "Retry",
    "SharedUnavailable",
    "TooManyFailures",
    "Verdict",
    "gather_bounded",
    "parallel_map",
    "partial_results",
    "to_async",
    "to_sync",
]

__version__ = "0.1.0"

if not _typing.TYPE_CHECKING:  # type checkers name what is missing by themselves

    def __getattr__(name: str) -> object:
        text = f"module {__name__!r} has no attribute {name!r}"
        if not name.startswith("_"):
            from fanmap._hints import attributes  # only where something is wrong

            line = attributes.of_module(name)
            text = text if line is None else f"{text}: {line}"
        raise AttributeError(text, name=name, obj=_sys.modules[__name__])
