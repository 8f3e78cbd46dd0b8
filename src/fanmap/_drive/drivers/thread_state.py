"""What users leave on a thread: attributes of its `Thread` object, and no others can be taken off again.

Frameworks keep the run of one user there (Streamlit its script context). A warm thread serves whoever comes next,
and must come to them as it was made. `threading.local` is beyond us: nobody can list what is in it.
"""

from __future__ import annotations

import threading
from typing import Any


class ThreadState:
    """The attributes of the thread that makes it, as they are then."""

    __slots__ = ("_attributes", "_before")

    def __init__(self) -> None:
        self._attributes: dict[str, Any] = threading.current_thread().__dict__
        self._before = dict(self._attributes)

    def put_back(self) -> None:
        """Every attribute as it was; in the thread itself."""
        now, before = self._attributes, self._before
        # By identity: what a user left there may object to being compared.
        if len(now) == len(before) and all(now.get(name, now) is value for name, value in before.items()):
            return
        for name in now.keys() - before.keys():
            del now[name]
        now.update(before)
