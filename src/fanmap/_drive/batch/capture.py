"""One run of one item: its requests are answered from the file, or taken down and the item unwound.

What goes to the wire (a stream, a server without batches) is admitted there under the Limits, when it is sent.
"""

from __future__ import annotations

import asyncio
import math
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, NoReturn

from fanmap._drive import clock
from fanmap._drive.batch import clients
from fanmap._drive.batch.book import Book
from fanmap._drive.batch.senders import sender_for
from fanmap._drive.batch.spending import NoMoney
from fanmap._drive.batch.to_wire import Outlet
from fanmap._drive.calls.plan import Plan
from fanmap._drive.calls.scope import current_scope
from fanmap._drive.drivers import loops
from fanmap._drive.limits.budget import Budget
from fanmap._drive.wire.observing import Request, Unwind, unwound_by
from fanmap._drive.wire.wires import AIOHTTP, ASYNC_HTTPX, RAISE_AT_ONCE
from fanmap._errors import BatchError
from fanmap._policy.batch.question import NotBatched, Question, QuestionKeys, read_question
from fanmap._policy.batch.siblings import QUIET, STILL, Siblings
from fanmap._policy.tokens.money import only_counts

_INNER: Final = (
    "{0} runs under a total of its own, such as max_spend=, that does not bound what batch submits: give its limits to "
    "the function that batch is called on, or {0} limits without a total"
)
_LOOK: Final = STILL / 10  # seconds


class Capture:
    """Observes the requests of one run of one item; see `observing.Observer`. From any thread, several at once.

    Args:
        book: of the job.
        index: of the item.
        key: of the item.
        plan: how a block under the function's Limits is admitted.

    Attributes:
        root: the task that runs an item of an `async def`.
        askers: its tasks that have sent something, on a Python that does not know a task's context.
        keys: of its questions.
        asked_for: the keys of all questions that it has asked.
        open: those of them that have no answer yet.
        outlet: of its requests that go to the wire.
        cut: it was unwound because the job has been stopped, or only its client was wanted: whatever it returned or
            raised is nothing.
        only_meets: it is run to show its client, and sends nothing, nor do tasks that it leaves behind.
    """

    def __init__(self, book: Book, index: int, key: str, plan: Plan) -> None:
        self._book = book
        self._plan = plan
        self._index = index
        self.outlet = Outlet(plan)
        self._lock = threading.Lock()
        self._thread = threading.get_ident()
        self.root: object = None
        self.askers: set[asyncio.Task[Any] | None] = set()
        self.scope = current_scope.get()
        self.keys = QuestionKeys(key)
        self.asked_for: set[str] = set()
        self.open: list[str] = []
        self.cut = False
        self._has_unwound = False
        self.only_meets = book.only_meets

    def asked(self, request: Request) -> Any:
        """A request is about to go: its answer; else it is taken down, and its call unwound."""
        if sys.version_info < (3, 12) and loops.running() == "asyncio":
            self.askers.add(asyncio.current_task())
        taken = clients.take(request)
        if self.only_meets:
            self._meet(request, taken)
        if taken is None:  # of a client that is not captured
            if self._book.only:
                client = "aiohttp" if request.wire is AIOHTTP else "botocore"
                raise self._stop(_only(f"a request through {client}: only those of httpx and requests are captured"))
            return self._to_wire(request)
        question = read_question(*taken, self._book.endpoints)
        if isinstance(question, NotBatched):
            if self._book.only:
                raise self._stop(_only(_what(question, taken.url)))
            if question.why == "host":
                self._book.meet_unknown_server(question.base)
            if question.why != "path" and self._is_aftermath():
                raise Unwind
            return self._to_wire(request)
        with self._lock:
            key = self.keys.key(question.digest)
            self.asked_for.add(key)
        answer = self._book.answer(key)
        if answer is not None:
            status, body = answer
            # A client's own repeats would ask the same anew: what can be mended has been asked again already.
            return clients.respond(request, status, body, RAISE_AT_ONCE if status >= 400 else {})
        if self._is_aftermath():
            raise Unwind
        inner = current_scope.get()
        if inner is not None and inner is not self.scope and _bounds(inner.budget, self._plan.budget):
            raise self._stop(ValueError(_INNER.format(inner.name)))
        self._book.note(key, self._index, question, taken.headers, lambda: sender_for(request))
        self.open.append(key)
        if request.wire is ASYNC_HTTPX and loops.running() is not None:
            return self._unwind_when_quiet()
        if threading.get_ident() != self._thread:
            self._wait_for_siblings()
        raise self._unwinding()

    def _unwinding(self) -> Unwind:
        unwound_by.set(self.keys)  # not itself: it knows its task, which knows this context
        self._has_unwound = True
        return Unwind()

    def _is_aftermath(self) -> bool:
        """Has who asks caught an unwinding, or waited for one who did? The answer would have led elsewhere."""
        return unwound_by.get() is self.keys or (self._has_unwound and self._at_root())

    def _at_root(self) -> bool:
        """Is it the item itself that asks, for whose threads and tasks it may have waited?"""
        loop = loops.running()
        if self.root is not None:
            return loop == "asyncio" and asyncio.current_task() is self.root
        if threading.get_ident() != self._thread:
            return False
        return loop is None or (loop == "asyncio" and asyncio.all_tasks() == {asyncio.current_task()})

    def _meet(self, request: Request, taken: clients.Outgoing | None) -> NoReturn:
        question = None if taken is None else read_question(*taken, self._book.endpoints)
        if taken is not None and isinstance(question, Question):
            self._book.meet(self._index, question, taken.headers, lambda: sender_for(request))
        self.cut = True
        raise Unwind

    def _stop(self, why: BaseException) -> Unwind:
        self.cut = True
        self._book.stop(why)
        return Unwind()

    def _no_money(self, error: Exception) -> Unwind:
        return self._stop(NoMoney(error))

    def _wait_for_siblings(self) -> None:
        siblings = Siblings(self._book.patience)
        while not siblings.have_asked(len(self.asked_for), clock.now(), self._missing):
            clock.world.sleep(_LOOK)

    async def _unwind_when_quiet(self) -> Any:
        in_trio = loops.running() == "trio"
        alone = in_trio or self.root is asyncio.current_task()
        siblings = Siblings(self._book.patience, turns=QUIET, alone=alone)

        def over() -> bool:
            return siblings.have_asked(len(self.asked_for), clock.now(), self._missing)

        if in_trio:
            while not over():
                await sys.modules["trio"].lowlevel.checkpoint()
        else:
            if (task := asyncio.current_task()) is not None and not alone:
                task.add_done_callback(_retrieve)
            told = asyncio.get_running_loop().create_future()
            _look(told, over, 0 if alone else _LOOK)
            await told
        raise self._unwinding()

    def _missing(self) -> list[str]:
        return self._book.job.forgotten(self.keys.mark, self.asked_for)

    def answered(self, request: Request, response: Any) -> None:
        """The wire's response to what went there."""
        self.outlet.answered(request, response)

    def failed(self, request: Request, error: BaseException) -> None:
        """No response came."""
        self.outlet.leave(request, error)

    def _to_wire(self, request: Request) -> Any:
        self._book.count_sent_at_once()
        # A call of ours inside the item has been admitted.
        return self.outlet.admit(request, self._no_money) if current_scope.get() is self.scope else None


def _bounds(inner: object, outer: Budget) -> bool:
    """Has the budget of an inner call a total that is not the outer one's?"""
    return (
        inner is not outer
        and isinstance(inner, Budget)
        and any(rate.per == math.inf and not only_counts(rate) for rate in inner.rates)
    )


def _look(told: asyncio.Future[None], over: Callable[[], bool], seconds: float) -> None:
    """Look, and again after so many seconds, until it is over. The loop does: a task is resumed frame by frame."""
    if told.done():  # its task was cancelled
        return
    try:
        done = over()
    except Exception as error:  # else its task would wait for ever
        told.set_exception(error)
        return
    if done:
        told.set_result(None)
    elif seconds:
        told.get_loop().call_later(seconds, _look, told, over, seconds)
    else:
        told.get_loop().call_soon(_look, told, over, seconds)


def _retrieve(task: asyncio.Task[Any]) -> None:
    """An item that waits for several is unwound by the first that it looks at: nothing is to be told of the others."""
    if not task.cancelled():
        task.exception()


def _only(what: str) -> BatchError:
    return BatchError(f"only=True, but a call of the function sends {what}")


def _what(question: NotBatched, url: str) -> str:
    place = url.partition("?")[0]
    scheme, _, rest = place.partition("://")
    place = f"{scheme}://{rest.rpartition('@')[2]}"
    return {
        "streaming": f"a streaming request to {place}, and batches accept none: call without stream=True",
        "host": f"a request to {question.base}, which is not known to accept batches. If it does, add "
        f"endpoints=[{question.base!r}]",
        "path": f"a request to {place}, which is none that batches accept",
    }[question.why]
