"""Hears the warnings of the library that the command says in words of its own, or has said already.

Answers that can no longer be kept are no warning here: no row need tell, the run stops, and that is why.
"""

from __future__ import annotations

import re
import shlex
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from fanmap._drive.batch.notices import PaidAgain, UnknownServer
from fanmap._drive.notices import DamagedRecords, UnreadInput, UnwrittenTrace
from fanmap._run.reasons import Reason, before_writing_again, journal_text

_NOTICE: Final = "results were not kept: "  # as the library warns


class Heard:
    """Listens to the library's warnings while it is entered; others are shown as ever.

    Args:
        say: writes a line.

    Attributes:
        unkept: why answers were not kept; None: they were.
    """

    def __init__(self, say: Callable[[str], object]) -> None:
        self.unkept: Reason | None = None
        self._say = say
        self._filters = warnings.catch_warnings()
        self._show: Any = None

    def __enter__(self) -> Self:
        self._filters.__enter__()
        warnings.filterwarnings("always", _NOTICE)
        for kind in (PaidAgain, UnknownServer, DamagedRecords, UnwrittenTrace):
            warnings.filterwarnings("always", category=kind)
        self._show, warnings.showwarning = warnings.showwarning, self._hear
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        warnings.showwarning = self._show
        self._filters.__exit__(kind, error, traceback)

    def _hear(self, message: Warning | str, *rest: Any, **more: Any) -> None:
        text = str(message)
        if isinstance(message, PaidAgain):
            self._say(f"fanmap: {_paid_again(message)}")
        elif isinstance(message, UnknownServer):
            self._say(f"fanmap: {_unknown_server(message)}")
        elif isinstance(message, DamagedRecords):
            self._say(f"fanmap: {message.path}: {message.what}")
        elif isinstance(message, UnwrittenTrace):
            self._say(f"fanmap: --trace {message.path} could not be written: {message.why}")
        elif text.startswith(_NOTICE):
            self.unkept = _not_kept(text.removeprefix(_NOTICE))
        elif not isinstance(message, UnreadInput):  # which is what "not run" counts, beside the reason
            self._show(message, *rest, **more)


def _not_kept(said: str) -> Reason:
    numbered = re.match(r"\[Errno (\d+)\] ", said)
    said = said if numbered is None else said[numbered.end() :]
    number = None if numbered is None else int(numbered[1])
    return Reason(f"the journal: {journal_text(Exception(said))}", before_writing_again(number))


def _paid_again(notice: PaidAgain) -> str:
    which, them = ("1 batch", "it") if notice.batches == 1 else (f"{notice.batches} batches", "them")
    path = shlex.quote(notice.path)
    return (
        f"{which} of {path} may still be under way, and answers are being paid for again: to wait for {them} instead, "
        f"stop this run and add --batch; to end {them}, `fanmap batch cancel {path}`"
    )


def _unknown_server(notice: UnknownServer) -> str:
    return (
        f"requests to {notice.base} are sent at once, at full price: this server is not known to accept batches; if it "
        f"does, stop this run and add --endpoint {shlex.quote(notice.base)}; with --only, such a request is an error "
        "and is not sent"
    )
