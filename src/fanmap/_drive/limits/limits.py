"""`Limits`: the public face of one budget, also for code that cannot be decorated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from typing_extensions import override

from fanmap._drive.calls.plan import Plan
from fanmap._drive.limits.blocks import Blocks
from fanmap._drive.limits.budget import Budget
from fanmap._drive.limits.settings import PerMinute, RateLike, Settings, check_money, listed
from fanmap._drive.notices import warn_of_copied_limits
from fanmap._drive.shared.store import StoreOpener
from fanmap._policy.failures.verdict import Verdict
from fanmap._policy.limits.adaptive import Adaptive, Change
from fanmap._policy.limits.permit import BackgroundPermit, Permit
from fanmap._policy.tokens.money import Money, dollars_rate
from fanmap._public import public
from fanmap._types import Everybody, Stats
from fanmap._usage import Usage


def limit_spending(limits: Limits, max_spend: float, *, priced_as: Limits | None = None) -> None:
    """From now on calls under this Limits, of which none has been made, may cost so many dollars.

    Args:
        limits: keeps everything else that it was given.
        max_spend: in place of its own, if it has one.
        priced_as: whose `price` is to be asked; None: its own.

    Raises:
        ImportError: there are no prices.
        ValueError: it is shared: others have the same total, or none.
    """
    if limits._settings.shared is not None:  # pyright: ignore[reportPrivateUsage]
        raise ValueError(
            f"max_spend cannot be added to a shared Limits: write it there, Limits(shared=..., max_spend={max_spend!r})"
        )
    known = budget_of(limits if priced_as is None else priced_as).money
    money = check_money(max_spend, None) if known is None else Money(known.price, strict=True, given=known.given)
    assert money is not None
    budget_of(limits).limit_spending(money, dollars_rate(max_spend))


name_of_unshared: Callable[[], str] | None = None
"""What a Limits that is made without a name is called; None: nothing. For processes that have one module in common."""


class Limits(Blocks):
    """One budget of calls, shared by everything it is given to.

    Thread-safe and bound to no event loop: threads and any number of loops share it. It binds every call
    made under it: runs, direct calls of a decorated function, and `with limits:` (or `async with`) blocks.

    Args:
        max_concurrency: calls under way at once: an int >= 1, a ceiling that refusals lower for a while;
            an `Adaptive`, which finds how many the server can take; `"auto"`, which is `Adaptive()`.
        rpm: calls that start in any 60 seconds; >= 1; None: no such limit. Short for `rate=Rate(rpm)`. `"auto"`: the
            limit that the server states in its response headers, followed when it changes, in the server's own
            window; until the first response, one call runs at a time. If the server states none, there is no such
            limit, and one warning says so.
        tpm: tokens in any 60 seconds; > 0; None: no such limit. A call is charged a token for four bytes
            of the text in its arguments (four characters of English), plus `max_tokens` where given, and
            settled with the usage that its responses report (see `read_responses`), or with the usage in its result.
            The estimate learns: the mean difference of past calls is added to the next one. `"auto"`: as with `rpm`;
            if the server limits input and output separately, as Anthropic does, both.
        rate: a `Rate`, an `aiolimiter.AsyncLimiter`, or several. An AsyncLimiter serves calls on asyncio only,
            and the strict window, first come first served and refunds do not hold for it.
        max_wait: seconds that a server may keep everybody from working, by one wait or by refusals without
            a success between, before a run stops; > 0. A wait is never shortened. Also of one item that is
            refused again and again while others are answered, from its first refusal: then it ends alone.
        classify: `classify(exception)` is your own reading of a failure: a `Verdict`, or None for ours.
        max_waiting: when this many calls of this process already wait for a slot, a direct call, a `with` block or the
            first call of a run that would have to wait raises `Busy` at once, which says when to try again: an int
            >= 0 (0: no call waits). Later calls of a run that was let in, calls inside others, repeats and the
            background are exempt. None: any number may wait.
        max_spend: US dollars that all calls under it may cost once it is made; > 0. A call whose estimate, the mean
            of what was settled, does not fit beside what calls under way may still cost waits for them; when it does
            not fit beside what is settled alone, nothing more starts and the run ends with `BudgetExceeded`. Until one
            call is priced, one is under way. A cost that a response names (a LiteLLM proxy's) is taken as it is. With
            `shared` it is what all processes may spend, until the last of them has left.
        price: `price(model, usage)` is what a response cost, in dollars, by its model's name and a `Usage`. None: as
            genai-prices says (`pip install "fanmap[prices]"`). With `max_spend`, one that raises or gives no number
            ends the run; without it, `stats.spent` is all that it is for.
        read_responses: look at the responses to the calls' own HTTP requests as they pass through httpx, httpx2,
            requests, aiohttp and botocore: status, usage and model, so that `tpm=` holds for functions that return
            text, refusals that a client hides count at once, and a refusal that fanmap will send again is raised by
            the openai and anthropic clients instead of being repeated by them. Numbers are kept, nothing else. None:
            where something needs it (`tpm=`, `max_spend=`, `price=`, an `Adaptive`, an "auto"); False: never, which
            `max_spend=`, `price=` and "auto" for a rate rule out.
        shared: one budget for every process that names it. A name (1 to 64 of A-Z a-z 0-9 . _ -): all processes of
            this user on this machine, by a file, without a server; or by a server, where the environment variable
            FANMAP_SHARED is its URL. A path with a slash: that file. `"redis://HOST:6379/0#NAME"` (also rediss://,
            unix://, valkey://; extra `fanmap[redis]`): every machine that names it. Nothing is opened before the first
            call. Of numbers that differ between processes the smallest holds; `max_waiting` counts this process, and
            its responses are read where one Limits of the name asks for it. None: this process only.

    Raises:
        ImportError: `max_spend` without genai-prices and without `price`.
        ValueError, TypeError: a setting out of its bounds, when it is made. A shared one, at a call or run: ValueError
            where another process has other rates, SharedUnavailable where the store is away for longer than
            `max_wait` (or 5 s, where it was never reached).

    Threads: a call made inside another one under the same Limits runs on the slot of the outer one, so
    nested runs and recursion cannot deadlock. A `with` block is charged one unit of each rate; it may be left in
    another context, task or thread than it was entered in, and gives its slot back there.

    Pickling: a shared one arrives as itself, as it is a name. Any other binds its process, and is a TypeError; under
    cloudpickle (joblib, ray, dask, pyspark) it becomes one of the process it arrives in, which is warned of.
    """

    @public
    def __init__(
        self,
        max_concurrency: int | Literal["auto"] | Adaptive = 8,
        *,
        rpm: PerMinute | None = None,
        tpm: PerMinute | None = None,
        rate: RateLike | Sequence[RateLike] = (),
        max_wait: float = 300.0,
        classify: Callable[[BaseException], Verdict | None] | None = None,
        read_responses: bool | None = None,
        max_waiting: int | None = None,
        max_spend: float | None = None,
        price: Callable[[str, Usage], float] | None = None,
        shared: str | StoreOpener | None = None,
    ) -> None:
        if shared is None and name_of_unshared is not None:
            shared = name_of_unshared()
        self._settings = Settings(
            max_concurrency, rpm, tpm, listed(rate), max_wait, classify, read_responses, max_waiting, max_spend, price,
            shared,
        )  # fmt: skip
        self._budget = self._settings.make_budget()
        self._shown = f"Limits({self._settings})"
        self._permit: type[Permit] = Permit
        self._background: Limits | None = None
        self._without_blocks()

    @property
    def background(self) -> Limits:
        """The same budget, for work that nobody waits for: its calls start only when no other call waits.

        First come, first served holds within the background. A call inside another one under the same Limits is of
        its caller's kind. A call in the background that has its slot and waits for the gate or a rate gives the slot
        to a call in the foreground; what is under way is never interrupted. Under a foreground that never ends, one
        start in 50 is the background's. With `shared`, all of this holds across all processes. `background` of a
        `background` is itself. `max_waiting` does not bind it.
        """
        if self._permit is BackgroundPermit:
            return self
        if self._background is None:
            made = object.__new__(type(self))
            made.__dict__.update(self.__dict__, _shown=f"{self._shown}.background", _permit=BackgroundPermit)
            made._without_blocks()
            self._background = made
        return self._background

    @property
    def max_concurrency(self) -> int:
        """Calls under way at once, at most; `stats.ceiling` has the number of this moment."""
        return self._budget.max_concurrency

    @property
    def stats(self) -> Stats:
        """Where it stands, over everything that ran under it; at any time, from any thread."""
        return self._budget.stats()

    @property
    def everybody(self) -> Everybody:
        """Where it stands over all processes that have it, as its store has it; without `shared=`, here.

        Raises:
            SharedUnavailable: the store cannot be read.
        """
        return self._budget.everybody()

    @property
    def history(self) -> list[Change]:
        """How the ceiling moved: (time, before, after, why), the last thousand times."""
        return self._budget.changes()

    if not TYPE_CHECKING:  # type checkers name what is missing by themselves

        def __getattr__(self, name: str) -> Any:
            from fanmap._hints import attributes  # only where something is wrong

            raise attributes.missing(self, "Limits", name)

        def __setattr__(self, name: str, value: object) -> None:
            if name in Settings.__slots__:  # it would change nothing
                text = f"{name} cannot be changed: make another Limits({name}=...)"
                raise AttributeError(text, name=name, obj=self)
            object.__setattr__(self, name, value)

    @override
    def __repr__(self) -> str:
        return self._shown

    @override
    def __reduce__(self) -> Any:
        given, shared = self._settings.as_arguments(), self._settings.shared
        background = self._permit is BackgroundPermit
        if isinstance(shared, str):
            return _again, (given, background)
        if self._budget.limiters or shared is not None:
            raise TypeError(_NOT_PICKLED)
        from fanmap._drive.limits import carried, copies  # only where it is pickled

        return carried.reduced(Limits, (copies.origin_of(self._budget), given, background), None, _NOT_PICKLED)

    def __setstate__(self, state: Any) -> None:
        from fanmap._drive.limits import carried, copies

        parts = carried.parts_of(state)
        assert parts is not None
        origin, given, background = parts
        self.__init__(**given)  # type: ignore[misc]
        self._budget, is_copy = copies.budget_of_origin(origin, self._budget)
        if background:
            self.__dict__.update(self.background.__dict__)
        if is_copy:
            warn_of_copied_limits(repr(self))


_NOT_PICKLED: Final = (
    "a Limits binds one process and cannot be pickled: make one in each process, "
    'or one for all of them: Limits(..., shared="NAME")'
)


def _again(settings: Mapping[str, Any], background: bool) -> Limits:
    """A shared Limits in another process: it is a name."""
    limits = Limits(**settings)
    return limits.background if background else limits


def budget_of(limits: Limits) -> Budget:
    """The state behind a Limits, for the layer above."""
    return limits._budget  # pyright: ignore[reportPrivateUsage]


def kind_of(limits: Limits) -> type[Permit]:
    """Whether its calls are the foreground's or the background's."""
    return limits._permit  # pyright: ignore[reportPrivateUsage]


def block_plan(limits: Limits) -> Plan:
    """How a block under a Limits is admitted."""
    return limits._plan()  # pyright: ignore[reportPrivateUsage]
