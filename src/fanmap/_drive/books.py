"""State that many threads change, one at a time, and that nobody ever waits for.

Whoever finds the books taken leaves its event in a queue; the holder works the queue off before it lets go, and once
more afterwards, should something have come in between. So no thread and no event loop blocks on a lock of ours: the
collector, a signal handler or a tracer may run any code on top of a section, and that code may wait for a thread or a
loop that needs the same books.

    one thread                            another
    do(event): takes them, runs it
                                          do(other): BUSY; post(other): queued
    runs `other`, lets go                 goes on; is woken by what `other` left in `after`

Events are ours, short, and idempotent, for Ctrl-C may cut one off: one from the queue is run again; out of `do` comes
the KeyboardInterrupt, and whoever asked repeats what must not be left half done. What they want done outside (waking
somebody, who may be on a closed loop; hiring) they leave in `after`.

A question that is asked on top of one's own section can't be answered before that section ends, and it can't end
before the question is answered: `on_top` has what becomes of it.
"""

from __future__ import annotations

import os
import weakref
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import Any, Final

from typing_extensions import override


class _Busy:
    @override
    def __repr__(self) -> str:
        return "BUSY"


BUSY: Final = _Busy()


class Books:
    """Keeps one piece of state; derive from it, and change that state in events only.

    Attributes:
        after: what events want done once the books are closed.
    """

    __slots__ = ("__weakref__", "_events", "_holder", "after")

    def __init__(self) -> None:
        self.free()
        _all_books.add(self)

    def act(self, thing: Any) -> None:
        """Do outside what an event left in `after`; must not raise."""
        raise NotImplementedError

    def free(self) -> None:
        """Nobody holds them: new ones, or the child of a fork, where no other thread lives."""
        self._holder: dict[int, tuple[int]] = {}  # empty, or {0: who}: `setdefault` is one atomic step
        self._events: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self.after: deque[Any] = deque()

    def do(self, event: Callable[..., Any], *args: Any) -> Any:
        """Run the event now and return its answer, or BUSY: then nothing has happened."""
        me = (get_ident(),)
        holder = self._holder
        try:
            if holder.setdefault(0, me) is not me:
                return BUSY
            if self._events:  # those that were left before come before
                self._run_events()
            answer = event(*args)
            holder.clear()
        except BaseException:  # Ctrl-C, at any byte code
            if holder.get(0) is me:
                holder.clear()
            raise
        if self._events or self.after:
            self.work_off()
        return answer

    def post(self, event: Callable[..., Any], *args: Any) -> None:
        """Have the event run, by whoever holds the books, or here and now where nobody does."""
        if self._events or self.do(event, *args) is BUSY:  # behind those that were left before
            self._events.append((event, args))
            self.work_off()

    def work_off(self) -> None:
        """Run what was left here, and do what it wants done outside, as long as there is any."""
        me = (get_ident(),)
        holder, events, after = self._holder, self._events, self.after
        while True:
            if events:
                try:
                    if holder.setdefault(0, me) is not me:
                        return  # its holder will
                    self._run_events()
                    holder.clear()
                except BaseException:
                    if holder.get(0) is me:
                        holder.clear()
                    raise
            elif after:
                try:
                    thing = after.popleft()
                except IndexError:  # another thread was faster
                    continue
                self.act(thing)
            else:
                return

    def _run_events(self) -> None:
        events = self._events
        while events:
            event, args = events[0]
            event(*args)
            events.popleft()  # only now: cut off by Ctrl-C, it is run again

    def held_here(self) -> bool:
        """Are they held by this thread, underneath what runs now?"""
        holder = self._holder.get(0)
        return holder is not None and holder[0] == get_ident()

    def look_again(self) -> None:
        """Have all who wait here look again; without opening the books."""


def all_books() -> list[Books]:
    """Those that live."""
    return list(_all_books)


_all_books: weakref.WeakSet[Books] = weakref.WeakSet()


def everybody_looks() -> None:
    """Have all who wait anywhere look again."""
    for books in list(_all_books):
        books.look_again()


def _after_fork_in_child() -> None:
    for books in list(_all_books):
        books.free()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
