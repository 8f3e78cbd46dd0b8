"""Types that annotations name and nobody constructs: what `fanmap` hands out, and the options that travel as a dict."""

from fanmap._batch_types import BatchInfo, BatchOptions, BatchProgress, BatchSummary
from fanmap._policy.limits.adaptive import Change
from fanmap._results import Results
from fanmap._types import Everybody, JournalOptions, RunOptions, RunStats, Stats, Summary
from fanmap._usage import Usage

__all__ = [
    "BatchInfo",
    "BatchOptions",
    "BatchProgress",
    "BatchSummary",
    "Change",
    "Everybody",
    "JournalOptions",
    "Results",
    "RunOptions",
    "RunStats",
    "Stats",
    "Summary",
    "Usage",
]
