"""What a log says of one Limits: the few things for which somebody would ask why nothing moves.

Pure: told `now` and what has happened; answers with a line, or None. At most one line a second; what is left out is
counted in the next one.
"""

from __future__ import annotations

import math
from typing import Final

from fanmap._policy.limits.adaptive import Why

_APART: Final = 1.0  # seconds between two lines at least


class News:
    """What has been said of one Limits so far.

    Attributes:
        closed_until: of the gate of which it was not said yet that it has opened; None: there is none.
    """

    __slots__ = ("_left_out", "_next", "_outage_since", "closed_until")

    def __init__(self) -> None:
        self._next = -math.inf
        self._left_out = 0
        self.closed_until: float | None = None
        self._outage_since: float | None = None

    def gate(self, now: float, until: float, kind: str) -> str | None:
        """A refusal of that kind holds everybody until then."""
        if self.closed_until is not None and until <= self.closed_until:
            return None
        self.closed_until = until
        return self._line(now, f"gate closed: refused ({kind}), no call starts for {until - now:.1f} s")

    def ceiling(self, now: float, before: int, after: int, why: Why) -> str | None:
        """Another number of calls may be under way."""
        if why not in ("refused", "answered", "told") or before == after:
            return None
        what = "cut" if after < before else "grown"
        return self._line(now, f"ceiling {what} from {before} to {after} calls at once")

    def failed(self, now: float, failures: int, *, outage: bool) -> str | None:
        """A call that will be repeated has failed."""
        if not outage or self._outage_since is not None:
            return None
        self._outage_since = now
        return self._line(now, f"outage: {failures} failures in a row, one probe at a time until one is answered")

    def answered(self, now: float, *, outage: bool) -> str | None:
        """A call has been answered; asked where somebody wants to know."""
        since = self._outage_since
        if since is None or outage:
            return None
        self._outage_since = None
        return self._line(now, f"outage over after {now - since:.1f} s")

    def moved(self, now: float) -> str | None:
        """Calls in line have been looked at, while a gate was closed before."""
        if self.closed_until is None or now < self.closed_until:
            return None
        self.closed_until = None
        return self._line(now, "gate opened: calls start again")

    def _line(self, now: float, text: str) -> str | None:
        if now < self._next:
            self._left_out += 1
            return None
        self._next = now + _APART
        more, self._left_out = self._left_out, 0
        return f"{text} ({more} lines left out)" if more else text
