"""`Limits`: the public face of one budget, also for code that cannot be decorated."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextvars import ContextVar
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, ForwardRef, Literal, Self, TypeAlias, Union

from typing_extensions import override

from fanmap._drive import aio, loops, threads
from fanmap._drive.budget import Budget
from fanmap._drive.calls import Block, Plan
from fanmap._policy.adaptive import Adaptive, Change
from fanmap._policy.rate import Rate, check_positive, name_of_setting
from fanmap._policy.signals import Verdict
from fanmap._policy.tokens import estimate_tokens, read_usage
from fanmap._types import Stats

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter


def _limiter_class() -> type[AsyncLimiter]:
    from aiolimiter import AsyncLimiter  # here: it is a fifth of the time that importing fanmap took

    return AsyncLimiter


if TYPE_CHECKING:
    RateLike: TypeAlias = Rate | AsyncLimiter
else:
    # What `typing.get_type_hints` evaluates, in whichever module the annotation stands: it finds the class then.
    RateLike = Union[Rate, ForwardRef("__import__('aiolimiter').AsyncLimiter")]  # noqa: UP007


def check_count(name: str, value: object) -> int:
    """An int >= 1, or an error that names the parameter."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int >= 1, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be >= 1, got {value!r}")
    return value


def _check_concurrency(value: object) -> Adaptive:
    if isinstance(value, Adaptive):
        return value
    if value == "auto":
        return Adaptive()
    if isinstance(value, str):
        raise ValueError(f'max_concurrency must be an int >= 1, "auto" or an Adaptive, got {value!r}')
    most = check_count("max_concurrency", value)
    return Adaptive(start=most, minimum=1, maximum=most)


def _check_rates(rpm: float | None, tpm: float | None, given: list[Any]) -> tuple[list[Rate], list[AsyncLimiter]]:
    rates: list[Rate] = []
    limiters: list[AsyncLimiter] = []
    if rpm is not None:
        check_positive("rpm", rpm)
        rates.append(Rate(rpm, 60.0))
    if tpm is not None:
        check_positive("tpm", tpm)
        rates.append(Rate(tpm, 60.0, cost=tokens_of_call, usage=read_usage))
    for one in given:
        if isinstance(one, Rate):
            rates.append(one)
            continue
        if isinstance(one, _limiter_class()):
            limiters.append(one)
        else:
            raise TypeError(f"rate must be a Rate, an aiolimiter.AsyncLimiter or several of them, got {one!r}")
    return rates, limiters


def _shown(
    max_concurrency: object,
    rpm: float | None,
    tpm: float | None,
    rates: list[RateLike],
    max_wait: float,
    classify: Callable[..., Any] | None,
) -> str:
    """The settings that are not what they are without being given."""
    given = [f"max_concurrency={max_concurrency!r}"]
    given += [f"{name}={number!r}" for name, number in (("rpm", rpm), ("tpm", tpm)) if number is not None]
    shown = [
        repr(one) if isinstance(one, Rate) else f"AsyncLimiter({one.max_rate:g}, {one.time_period:g})" for one in rates
    ]
    if shown:
        given.append(f"rate={shown[0]}" if len(shown) == 1 else f"rate=[{', '.join(shown)}]")
    if max_wait != 300.0:  # the default
        given.append(f"max_wait={max_wait!r}")
    if classify is not None:
        given.append(f"classify={name_of_setting(classify)}")
    return f"Limits({', '.join(given)})"


class Limits:
    """One budget of calls, shared by everything it is given to.

    Thread-safe and bound to no event loop: threads and any number of loops share it. It binds every call
    made under it: runs, direct calls of a decorated function, and `with limits:` (or `async with`) blocks.

    Args:
        max_concurrency: calls under way at once: an int >= 1, a ceiling that refusals lower for a while;
            an `Adaptive`, which finds what the server bears; `"auto"`, which is `Adaptive()`.
        rpm: calls that start in any 60 seconds; > 0; None: no such limit. Short for `rate=Rate(rpm)`.
        tpm: tokens in any 60 seconds; > 0; None: no such limit. A call is charged a token for four bytes
            of the text in its arguments (four characters of English), plus `max_tokens` where given, and
            settled with the usage in its result; a function that returns text keeps the estimate.
        rate: a `Rate`, an `aiolimiter.AsyncLimiter`, or several. An AsyncLimiter serves calls on asyncio only,
            and the strict window, first come first served and refunds do not hold for it.
        max_wait: seconds that a server may keep everybody from working, by one wait or by refusals without
            a success between, before a run stops; > 0. A wait is never shortened.
        classify: `classify(exception)` is your own reading of a failure: a `Verdict`, or None for ours.

    Raises:
        ValueError, TypeError: a setting out of its bounds, when it is made.

    Threads: a call made inside another one under the same Limits runs on the slot of the outer one, so
    nested runs and recursion cannot deadlock. A `with` block is charged one unit of each rate; it may be left in
    another context, task or thread than it was entered in, and gives its slot back there.
    A Limits holds for this process only: divide the numbers by your processes.
    """

    def __init__(
        self,
        max_concurrency: int | Literal["auto"] | Adaptive = 8,
        rpm: float | None = None,
        tpm: float | None = None,
        rate: RateLike | Sequence[RateLike] = (),
        *,
        max_wait: float = 300.0,
        classify: Callable[[BaseException], Verdict | None] | None = None,
    ) -> None:
        concurrency = _check_concurrency(max_concurrency)
        check_positive("max_wait", max_wait)
        given: list[Any] = list(rate) if isinstance(rate, Iterable) else [rate]
        rates, limiters = _check_rates(rpm, tpm, given)
        if classify is not None and not callable(classify):
            raise TypeError(f"classify must be callable or None, got {classify!r}")
        self._shown = _shown(max_concurrency, rpm, tpm, given, max_wait, classify)
        self._budget = Budget(concurrency, rates, limiters, max_wait, classify)
        self._blocks: ContextVar[tuple[Block, ...]] = ContextVar("fanmap_blocks", default=())
        self._open: dict[Block, None] = {}  # all of every context, in the order of their admission

    @property
    def max_concurrency(self) -> int:
        """Calls under way at once, at most; `stats.ceiling` has the number of this moment."""
        return self._budget.max_concurrency

    @property
    def stats(self) -> Stats:
        """Where it stands, over everything that ran under it; at any time, from any thread."""
        return self._budget.stats()

    @property
    def history(self) -> list[Change]:
        """How the ceiling moved: (time, before, after, why), the last thousand times."""
        return self._budget.changes()

    @override
    def __repr__(self) -> str:
        return self._shown

    @override
    def __reduce__(self) -> Any:
        raise TypeError("a Limits binds one process and cannot be pickled: make one in each process")

    def __enter__(self) -> Self:
        if self._budget.limiters:
            raise TypeError(asyncio_only(self._budget.limiters))
        block = Block(self._plan(), None, _caller())
        try:
            threads.admit(block)
            self._entered(block)
        except BaseException:  # Ctrl-C: a block that was not entered is not left
            self._open.pop(block, None)
            block.quit()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave(_caller(), error)

    # Not `async def`: these are called by the code whose block it is, and run wherever they are awaited.

    def __aenter__(self) -> Coroutine[Any, Any, Self]:
        return self._enter_async(_caller())

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Coroutine[Any, Any, None]:
        return self._leave_async(_caller(), error)

    async def _enter_async(self, frame: FrameType | None) -> Self:
        block = Block(self._plan(), threading.get_ident(), frame)
        if loops.running() == "trio":
            from fanmap._drive import trio  # only where trio runs

            if self._budget.limiters:
                raise TypeError(asyncio_only(self._budget.limiters))
            await trio.admit(block)
        else:
            await aio.admit(block)
            try:
                for limiter in self._budget.limiters:
                    await limiter.acquire()
            except BaseException:
                block.leave(None)
                raise
        self._entered(block)
        return self

    async def _leave_async(self, frame: FrameType | None, error: BaseException | None) -> None:
        self._leave(frame, error)

    def _entered(self, block: Block) -> None:
        self._open[block] = None
        self._blocks.set((*(other for other in self._blocks.get() if other in self._open), block))

    def _leave(self, frame: FrameType | None, error: BaseException | None) -> None:
        block = self._block_of(frame)
        try:
            block.leave(error)
        finally:
            block.quit()  # Ctrl-C between two bytecodes: leaving twice is leaving once
            self._open.pop(block, None)
            blocks = self._blocks.get()
            if block in blocks:
                self._blocks.set(tuple(other for other in blocks if other is not block))

    def _block_of(self, frame: FrameType | None) -> Block:
        """The block that this code leaves.

        Its context says so, unless it was entered in another one: then it is the one that the same code entered.
        Where other code did that (an `ExitStack`), any block of this context's, else the last that was entered:
        one slot is given back for each block that is left, whatever happens.
        """
        here = [block for block in self._blocks.get() if block in self._open]
        if here and here[-1].frame is frame:
            return here[-1]
        blocks = list(reversed(list(self._open)))
        for block in blocks:
            if frame is not None and block.frame is frame:
                return block
        if here:
            return here[-1]
        for block in blocks:
            try:
                del self._open[block]  # atomic: of two who leave at once, each has its own
            except KeyError:
                continue
            return block
        raise RuntimeError("a Limits cannot be left more often than it was entered")

    def _plan(self) -> Plan:
        return Plan("a block under Limits", _unused, _no_arguments, self._budget, retry=False)


def _caller() -> FrameType | None:
    """The code that called whoever asks; None where the interpreter does not say."""
    here = inspect.currentframe()
    method = None if here is None else here.f_back
    return None if method is None else method.f_back


def budget_of(limits: Limits) -> Budget:
    """The state behind a Limits, for the layer above."""
    return limits._budget  # pyright: ignore[reportPrivateUsage]


def asyncio_only(limiters: Sequence[AsyncLimiter]) -> str:
    """What to write instead of an AsyncLimiter outside asyncio."""
    one = limiters[0]
    return (
        "an aiolimiter.AsyncLimiter belongs to one asyncio loop and cannot hold threads or trio back: "
        f"write Rate({one.max_rate:g}, {one.time_period:g})"
    )


def tokens_of_call(*args: Any, **kwargs: Any) -> float:
    """The tokens that a call is charged before it runs: a rate's `cost`."""
    return estimate_tokens(args, kwargs)


def _unused(item: Any) -> Any:  # pragma: no cover (a block calls nothing)
    return item


def _no_arguments(item: Any) -> Any:  # noqa: ARG001
    return (), {}
