"""A fake LLM inside the process, called like a client's method.

Sync calls sleep in their thread, async ones on whatever loop runs them (asyncio or trio). What
happens to a call is decided in `_provider`; here it is waited for, then returned or raised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import anyio

from fanmap._drive import clock
from fanmap.testing._behaviour import Behaviour, FailureRates
from fanmap.testing._dialect import retry_after_text
from fanmap.testing._openai_wire import openai_error
from fanmap.testing._provider import Fate, Provider, Record
from fanmap.testing._text import count_tokens, simulated_reply


@dataclass(frozen=True, slots=True)
class SimulatedResponse:
    """As much of an HTTP response as the errors of real clients carry; header names in lower case."""

    status_code: int
    headers: Mapping[str, str]


class SimulatedAPIError(Exception):
    """Raised when the simulated LLM refuses a call or fails; shaped like a real client's error.

    Attributes:
        message: What the provider says.
        status_code: 429, 500, 503, …
        response: With `.status_code` and `.headers`.
        body: The provider's `error` object: `message`, `type`, `param`, `code`.
        code, type: Taken from the body.
    """

    def __init__(self, message: str, status_code: int, headers: Mapping[str, str], body: Mapping[str, object]) -> None:
        super().__init__(message, status_code, headers, body)  # as arguments, so that it can be pickled
        self.message = message
        self.status_code = status_code
        self.response: SimulatedResponse = SimulatedResponse(status_code, headers)
        self.body = body
        self.code: object = body.get("code")
        self.type: object = body.get("type")

    def __str__(self) -> str:
        return f"Error code: {self.status_code} - {self.message}"


class SimulatedLLM:
    """A fake LLM: `llm(prompt)` from threads, `await llm.acall(prompt)` from asyncio and trio.

    The latency and fate of a call depend on the seed, the prompt and the attempt of that prompt
    (calls refused by a limit don't count), so a run gives the same results however it interleaves.

    Args:
        seed: Chooses the dice.
        latency: Median seconds of a call.
        sigma: Spread of the lognormal latency; 0 means that all calls take `latency`.
        failure_rates: Share of the calls that fail with a 500, or shares by status: `{500: 0.05,
            503: 0.05, "drop": 0.01}`; "drop" raises ConnectionResetError. 429, 503 and 529 come at
            once, the others when the answer would have come.
        max_concurrency: Calls served at once; one more is refused with 429. None: no limit.
        rpm: Calls a minute: the refill of a token bucket; a call that finds it empty is refused with
            429 and a Retry-After. Failed calls count, and a refused one forfeits what was left. None: no limit.
        tpm: The same for tokens: an estimate of the prompt's. None: no limit.
        burst: Calls that the full bucket holds. None: a minute's worth.
        retry_after: Seconds that every refusal names. None: what the bucket says; a refusal for
            concurrency then names none.
        reply: Writes the answer to a prompt. None: a marked echo, or a marked "translation".

    Threads: one object serves any number of threads and event loops at once.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        latency: float = 0.02,
        sigma: float = 0.6,
        failure_rates: FailureRates = 0.0,
        max_concurrency: int | None = None,
        rpm: float | None = None,
        tpm: float | None = None,
        burst: float | None = None,
        retry_after: float | None = None,
        reply: Callable[[str], str] | None = None,
    ) -> None:
        self._provider = Provider(
            Behaviour(
                seed=seed,
                latency=latency,
                sigma=sigma,
                max_concurrency=max_concurrency,
                rpm=rpm,
                tpm=tpm,
                burst=burst,
                retry_after=retry_after,
                failure_rates=failure_rates,
            )
        )
        self._reply = reply or simulated_reply

    def __call__(self, prompt: str) -> str:
        """Answer after a simulated latency; blocks the thread.

        Raises:
            SimulatedAPIError: When refused by a limit, or failed by the dice.
            ConnectionResetError: When the dice say "drop".
        """
        with self._provider.serving(prompt, tokens=count_tokens(prompt)) as fate:
            if fate.delay:
                clock.world.sleep(fate.delay)
        return self._result(fate, prompt)

    async def acall(self, prompt: str) -> str:
        """The same, awaited.

        Cancellation: ends the call at once; the log shows it as "gone".
        """
        with self._provider.serving(prompt, tokens=count_tokens(prompt)) as fate:
            await anyio.sleep(fate.delay)
        return self._result(fate, prompt)

    @property
    def log(self) -> list[Record]:
        """The calls that have ended, in the order in which they ended."""
        return self._provider.log

    @property
    def prompts(self) -> list[str]:
        """The whole prompts, in the order of arrival."""
        return self._provider.prompts

    @property
    def sent(self) -> int:
        """Calls made, refused ones included."""
        return self._provider.sent

    @property
    def refused(self) -> int:
        """Calls that were answered with 429."""
        return self._provider.refused

    @property
    def max_in_flight(self) -> int:
        """The most calls that were served at once."""
        return self._provider.max_in_flight

    def reset(self) -> None:
        """Forget the log and fill the buckets. Call it while nothing is under way."""
        self._provider.reset()

    def _result(self, fate: Fate, prompt: str) -> str:
        if fate.status == 200:
            return self._reply(prompt)
        if not isinstance(fate.status, int):
            raise ConnectionResetError("simulated: the connection was dropped without a reply")
        headers = {} if fate.wait is None else {"retry-after": retry_after_text(fate.wait)}
        body = openai_error(fate, model="simulated")["error"]
        raise SimulatedAPIError(body["message"], fate.status, headers, body)
