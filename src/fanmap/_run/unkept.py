"""Hears that answers can no longer be kept. No row need tell: the run stops, and what was called is handed on."""

from __future__ import annotations

import re
import warnings
from types import TracebackType
from typing import Any, Final, Self

from fanmap._run.reasons import Reason, before_writing_again, journal_text

_NOTICE: Final = "results were not kept: "  # as the library warns


class Unkept:
    """Listens to the library's warning while it is entered; others are shown as ever.

    Attributes:
        reason: why answers were not kept; None: they were.
    """

    def __init__(self) -> None:
        self.reason: Reason | None = None
        self._filters = warnings.catch_warnings()
        self._show: Any = None

    def __enter__(self) -> Self:
        self._filters.__enter__()
        warnings.filterwarnings("always", _NOTICE)
        self._show, warnings.showwarning = warnings.showwarning, self._hear
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        warnings.showwarning = self._show
        self._filters.__exit__(kind, error, traceback)

    def _hear(self, message: Warning | str, *rest: Any, **more: Any) -> None:
        text = str(message)
        if not text.startswith(_NOTICE):
            self._show(message, *rest, **more)
            return
        numbered = re.match(r"\[Errno (\d+)\] ", said := text.removeprefix(_NOTICE))
        said = said if numbered is None else said[numbered.end() :]
        number = None if numbered is None else int(numbered[1])
        self.reason = Reason(f"the journal: {journal_text(Exception(said))}", before_writing_again(number))
