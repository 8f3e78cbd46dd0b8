"""Decorated generator functions: a direct call is a stream, admitted at its first chunk."""

from __future__ import annotations

from typing import ParamSpec, TypeVar, cast

from typing_extensions import override

from fanmap._drive.drivers import loops
from fanmap._drive.held.async_stream import HeldAsyncGenerator, owner_here
from fanmap._drive.held.call import StreamCall
from fanmap._drive.held.sync_stream import HeldGenerator
from fanmap._functions import ParallelFunction
from fanmap._policy.limits.permit import THREADS

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


class StreamFunction(ParallelFunction[P, R_co]):
    """A generator function that can be run over many inputs at once."""

    @override
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """The stream of one call, within its limits.

        It is admitted at the first `next`, and holds its slot until it ends, raises, is closed or collected.
        """
        plan = self._plan("threads", direct=True)
        return cast("R_co", HeldGenerator(lambda: StreamCall(plan, args, kwargs, THREADS)))


class AsyncStreamFunction(ParallelFunction[P, R_co]):
    """An async generator function that can be run over many inputs at once; its streams live on an event loop."""

    _is_async = True

    @override
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """The stream of one call, within its limits.

        It is admitted at the first `anext`, and holds its slot until it ends, raises, is closed or collected.
        """

        def begin() -> StreamCall:
            return StreamCall(self._plan(loops.running() or "asyncio", direct=True), args, kwargs, owner_here())

        return cast("R_co", HeldAsyncGenerator(begin))
