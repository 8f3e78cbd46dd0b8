"""Run the function you already have, the one that calls an LLM, over many inputs at once."""

from fanmap._bridge import to_async, to_sync
from fanmap._drive.limits import Limits
from fanmap._errors import BridgeError, CallTimeout, DeadlineExceeded, JournalError, NotRun, partial_results
from fanmap._functions import AsyncParallelFunction, ParallelFunction
from fanmap._gather import gather_bounded
from fanmap._map import parallel_map
from fanmap._outcome import Outcome
from fanmap._policy.adaptive import Adaptive, Change
from fanmap._policy.attempt import Retry
from fanmap._policy.rate import Rate
from fanmap._policy.signals import Verdict
from fanmap._results import Results
from fanmap._types import JournalOptions, RunStats, Stats, Summary

__all__ = [
    "Adaptive",
    "AsyncParallelFunction",
    "BridgeError",
    "CallTimeout",
    "Change",
    "DeadlineExceeded",
    "JournalError",
    "JournalOptions",
    "Limits",
    "NotRun",
    "Outcome",
    "ParallelFunction",
    "Rate",
    "Results",
    "Retry",
    "RunStats",
    "Stats",
    "Summary",
    "Verdict",
    "gather_bounded",
    "parallel_map",
    "partial_results",
    "to_async",
    "to_sync",
]

__version__ = "0.1.0"
