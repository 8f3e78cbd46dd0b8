"""While a module is imported, each Limits that it makes is made one with those of the other worker processes."""

from __future__ import annotations

import itertools
import os
from collections.abc import Generator
from contextlib import contextmanager

from fanmap._drive.limits import limits


@contextmanager
def shared_in(folder: str) -> Generator[None]:
    """The first Limits of each process is one, the second another; those that have a name keep it."""
    count = itertools.count()
    limits.name_of_unshared = lambda: os.path.join(folder, f"limits-{next(count)}")
    try:
        yield
    finally:
        limits.name_of_unshared = None
