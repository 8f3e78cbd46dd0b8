"""Reading the responses to one call's own requests, as they pass.

A `Reader` observes one attempt of one item. It keeps numbers: what responses took, how many there were, what was
refused. A body that passes piece by piece is kept, its ends only, until it has passed or the attempt is over.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from fanmap._drive import clock
from fanmap._drive.wire.hook import ensure, look_for_new
from fanmap._drive.wire.observing import Observer, Request, observer
from fanmap._drive.wire.repeats import Failures
from fanmap._drive.wire.taking import Account, Taking
from fanmap._drive.wire.wires import RAISE_AT_ONCE
from fanmap._policy.failures.replies import header_table, read_reply
from fanmap._policy.failures.signals import read_error
from fanmap._policy.failures.verdict import OUTAGES, Verdict
from fanmap._policy.limits.quotas import pick, read_bedrock_usage, read_cost, read_quotas
from fanmap._policy.tokens.body import Passing, Said, read_body, read_document
from fanmap._policy.tokens.usage import NOTHING_TAKEN, Taken, read_taken


def observe(account: Account, *, repeats: bool) -> Reader:
    """From now on, in this context, requests are those of one attempt of this account's call."""
    ensure()
    reader = Reader(account, repeats=repeats)
    outside = reader.outside = observer.get()
    if isinstance(outside, Reader):
        outside.delegates = True
    elif outside is not None:  # it answers requests itself: there is nothing to read
        reader.delegates = True
        return reader
    observer.set(reader)
    return reader


class Reader:
    """Observes the requests of one attempt; see `observing.Observer`.

    From any thread, several at once, and without a lock: what is counted is put into a list, or taken out, in one step.

    Args:
        account: told of refusals and limits at once.
        repeats: a refused attempt will be sent again by us, so that the client need not.

    Attributes:
        requests: one for each that was seen.
        refused: one for each of them that the server refused to start, and that was told.
        held: what such refusals said that are ours to repeat: they are told when the client has not raised them.
        hidden: one for each that the client itself sent again: was it refused before?
        outside: what observed in this context before.
        delegates: a call inside this one has a reader of its own.
    """

    __slots__ = (
        "_account", "_answered", "_costs", "_declined", "_failures", "_passing", "_repeats", "_taken", "_untold",
        "delegates", "held", "hidden", "outside", "refused", "requests",
    )  # fmt: skip

    def __init__(self, account: Account, *, repeats: bool) -> None:
        self._account: Account | None = account
        self._repeats = repeats
        self._answered = False
        self._failures = Failures()
        self.requests: list[None] = []
        self.refused: list[None] = []
        self.held: list[Verdict] = []
        self.hidden: list[bool] = []
        self._passing: deque[tuple[Passing, _Asked | None, bool]] = deque()  # the last: is it a stream of events?
        self._taken: list[Taken] = []
        self._costs: list[float] = []
        self._declined: list[None] = []
        self._untold: list[None] = []
        self.outside: Observer | None = None
        self.delegates = False

    @property
    def unseen(self) -> bool:
        """Has it seen nothing, where there was nobody else to see it?"""
        return not self.requests and not self.delegates

    @property
    def waits(self) -> bool:
        """Is there a body whose reader has not come to its end?"""
        return any(not body.passed for body, _, _ in tuple(self._passing))

    def close(self, *, returned: bool = True) -> Taking:
        """The attempt is over: what it took. From here on nothing is observed."""
        account, self._account = self._account, None
        self.leave()
        if returned and not self.requests:
            look_for_new()  # the next one may be seen, should a client have been imported behind our back
        if self._passing and account is not None:
            self._read_passing(account, only_passed=False)
        taken = self._taken[0] if self._taken else NOTHING_TAKEN
        for one in self._taken[1:]:
            taken = Taken(taken.usage + one.usage, taken.free + one.free)
        asked = len(self.requests)
        inside = self.delegates and not asked
        free = inside or (asked > 0 and len(self._declined) == asked)
        told, priced, untold = len(self._taken), len(self._costs), len(self._untold)
        return Taking(taken, told, sum(self._costs), priced, free, self.unseen, returned, untold, inside)

    def hand_over(self, account: Account) -> None:
        """It is this one's attempt from now on: its stream's, which the call has returned."""
        self._account = account

    def leave(self) -> None:
        """What is asked in this context from now on is no more of this attempt."""
        if observer.get() is self:  # a block may be left in another context
            observer.set(self.outside)

    def asked(self, request: Request) -> None:
        """A request is about to go."""
        self.requests.append(None)
        account = self._account
        if account is None or not self._failures:
            return
        refused = self._failures.take(request)
        if refused is not None:
            self.hidden.append(refused)
            self.tell_held(account)
            account.repeated_inside()

    def tell_held(self, account: Account) -> None:
        """A refusal that was the client's to raise, and that it has not raised, closes the gate and counts, too."""
        while self.held:
            try:
                verdict = self.held.pop()
            except IndexError:  # another thread has it
                return
            self.refused.append(None)
            account.refused_inside(verdict)

    def answered(self, request: Request, response: Any) -> None:
        """A response is there."""
        account = self._account
        if account is None:
            return
        wire = request.wire
        for _ in range(wire.repeats(response)):
            self._repeated(account)
        status = wire.status(response)
        if status >= 400:
            if account.wants_quotas:
                quotas = read_quotas(pick(wire.headers(response)), wall=clock.wall())
                if quotas:
                    account.told_quotas(quotas)
            self._declined.append(None)
            answer = _Answer(status, header_table(wire.headers(response)), wire.body(response))
            if self._failed(account, request, answer):
                wire.mark(response, RAISE_AT_ONCE)
            return
        self._answered = True
        if account.wants_quotas:
            account.told_quotas(read_quotas(pick(wire.headers(response)), wall=clock.wall()))
        self._look(account, request, response)

    def failed(self, request: Request, error: BaseException) -> None:
        """No response came, or the client raises one that says no."""
        account = self._account
        if account is not None and isinstance(error, Exception):
            for _ in range(request.wire.repeats_before(error)):
                self._repeated(account)
            self._failed(account, request, error)
            if _is_answer(error):
                self._declined.append(None)

    def _failed(self, account: Account, request: Request, error: Exception) -> bool:
        """A request failed; is it for us to send it again, and so for the client to raise it at once?"""
        verdict = read_error(error, wall=clock.wall())
        if verdict.refused_to_start:
            ours = self._repeats and not self._answered
            self.held.append(verdict)
            self._failures.add(request, refused=True)
            if not ours:
                self.tell_held(account)
            return ours
        if verdict.kind in OUTAGES:
            self._failures.add(request, refused=False)
        return verdict.kind == "spent"

    def _repeated(self, account: Account) -> None:
        self.hidden.append(False)
        account.repeated_inside()

    def _look(self, account: Account, request: Request, response: Any) -> None:
        """Read what the response says, or see to it that it is read as it passes."""
        wire = request.wire
        asked: _Asked | None = None
        headers: dict[str, str] | None = None
        if account.prices:
            headers = pick(wire.headers(response))
            asked = _Asked(wire.model(request.args, request.kwargs), wire.address(response), read_cost(headers))
        body = wire.body(response)
        if isinstance(body, bytes):
            self._add(account, read_body(body, model=asked is not None), asked)
            return
        headers = headers or pick(wire.headers(response))
        kind = headers.get("content-type", "json").lower()  # RFC 9110: in whatever case
        if body is not None:
            said = read_document(body)
            taken = said.taken or read_taken(read_bedrock_usage(headers))
            if taken is not None:
                self._add(account, Said(taken, said.model), asked)
                return
        elif not ("json" in kind or "event-stream" in kind):
            return
        encoded = headers.get("content-encoding", "identity").lower() != "identity"
        events = "event-stream" in kind
        if asked is not None and events and not asked.cost:
            asked = asked._replace(cost=None)  # a proxy's 0.0 in front of a stream is no cost yet
        self._read_passing(account, only_passed=True)
        self._passing.append((wire.watch(response, events=events, encoded=encoded), asked, events))

    def _read_passing(self, account: Account, *, only_passed: bool) -> None:
        """Of bodies that have passed numbers are kept, and of the others nothing is known before the end."""
        for _ in range(len(self._passing)):
            try:
                body, asked, events = self._passing.popleft()
            except IndexError:  # another thread has it
                return
            if only_passed and not body.passed:
                self._passing.append((body, asked, events))
                continue
            said = body.read()
            # No other body: one of a job that is under way names its model and has taken nothing yet, however often it
            # is asked for. And no other stream: a tool's names none.
            if events and said.taken is None and said.model is not None and (asked is None or asked.cost is None):
                self._untold.append(None)
            self._add(account, said, asked)

    def _add(self, account: Account, said: Said, asked: _Asked | None) -> None:
        if said.taken is not None:
            self._taken.append(said.taken)
        if asked is None:
            return
        cost = asked.cost
        if cost is None and said.taken is not None:
            cost = account.cost_of(asked.model or said.model, said.taken.usage, asked.address)
        if cost is not None:
            self._costs.append(cost)


class _Asked(NamedTuple):
    """What pricing a response takes besides its body; kept until that has passed.

    Attributes:
        model: that the request names, where the client's own name for it is what is billed (Bedrock).
        address: that was asked.
        cost: that the response names.
    """

    model: str | None
    address: str
    cost: float | None


def _is_answer(error: Exception) -> bool:
    """Is it a server's no, that the client itself or a hook of its user's has raised?"""
    status = read_reply(error).status
    return status is not None and status >= 400


class _Answer(Exception):
    """A response as the exception that a client would make of it, for those who read exceptions."""

    def __init__(self, status: int, headers: dict[str, str], body: object) -> None:
        super().__init__()
        self.status_code = status
        self.headers = headers
        self.body = body
