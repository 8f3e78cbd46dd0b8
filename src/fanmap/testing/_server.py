"""The loopback server as a test holds it: started by `serve`, asked by its log, told by its script.

starlette and uvicorn are imported when a server is started, not before.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from fanmap.testing._batches import Batches
from fanmap.testing._behaviour import Behaviour, FailureRates, check_number
from fanmap.testing._provider import Provider, Record
from fanmap.testing._script import Reply, Request, Respond, check_reply, check_respond

if TYPE_CHECKING:
    from fanmap.testing._listener import Listener


class Server:
    """A simulated provider at a loopback address; made by `serve`. Use it with `with`, or close it.

    Threads: everything here may be used from any thread while requests are served.
    """

    def __init__(self, behaviour: Behaviour, respond: Respond | None, port: int) -> None:
        try:
            from fanmap.testing._http import application
            from fanmap.testing._listener import Listener
        except ImportError as missing:
            raise ImportError(
                f'serve() needs {missing.name}, which is not installed: pip install "fanmap[testing]"'
            ) from missing
        check_number("port", port, int)
        if not 0 <= port < 65536:
            raise ValueError(f"port must be 0 to 65535, got {port!r}")
        check_respond(respond)
        self._provider = Provider(behaviour)
        self._respond = respond
        self._script: deque[Reply | None] = deque()
        self._script_lock = threading.Lock()
        app, self._batches = application(self._provider, self._next_reply)
        self._listener: Listener = Listener(app, port)

    @property
    def url(self) -> str:
        """Where it listens: http://127.0.0.1:PORT."""
        return f"http://127.0.0.1:{self._listener.port}"

    @property
    def openai_url(self) -> str:
        """The `base_url` for openai's clients."""
        return f"{self.url}/v1"

    @property
    def anthropic_url(self) -> str:
        """The `base_url` for anthropic's clients."""
        return self.url

    @property
    def gemini_url(self) -> str:
        """The `base_url` for google-genai's clients, in its `http_options`."""
        return self.url

    @property
    def log(self) -> list[Record]:
        """The requests that have ended, in the order in which they ended.

        A request is in it before its client has the answer; one whose client left, as soon as the
        server notices.
        """
        return self._provider.log

    @property
    def prompts(self) -> list[str]:
        """The whole prompts, in the order of arrival: `prompts[record.index]`."""
        return self._provider.prompts

    @property
    def batches(self) -> Batches:
        """The batches that were submitted, `batches.made`, and how they go, `batches.script`.

        server.batches.script = BatchScript(delay=math.inf)
        """
        return self._batches

    @property
    def sent(self) -> int:
        """Requests that arrived, refused ones included."""
        return self._provider.sent

    @property
    def refused(self) -> int:
        """Requests that were answered with 429."""
        return self._provider.refused

    @property
    def max_in_flight(self) -> int:
        """The most requests that were served at once; those answered with 429 were not."""
        return self._provider.max_in_flight

    def script(self, replies: Iterable[Reply | None]) -> None:
        """Say what the next requests are answered, one reply each, in order of arrival.

        Adds to what is still to come. None: the usual answer. Goes before the `respond=` hook.

            server.script([Reply(429, retry_after=2)] * 3)

        Raises:
            TypeError: One is neither a Reply nor None.
        """
        replies = list(replies)
        for reply in replies:
            check_reply("a scripted reply", reply)
        with self._script_lock:
            self._script.extend(replies)

    def reset(self) -> None:
        """Forget log and script, fill the buckets. Call it while no request is under way."""
        with self._script_lock:
            self._script.clear()
        self._provider.reset()
        self._batches.reset()

    def close(self) -> None:
        """Cut every connection and end the thread, within milliseconds. Again: nothing."""
        self._listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _next_reply(self, request: Request) -> Reply | None:
        with self._script_lock:
            if self._script:
                return self._script.popleft()
        reply = self._respond(request) if self._respond else None
        check_reply("what respond returns", reply)
        return reply


def serve(
    *,
    latency: float = 0.05,
    sigma: float = 0.6,
    scale: float = 1.0,
    seed: int = 0,
    max_concurrency: int | None = None,
    rpm: float | None = None,
    tpm: float | None = None,
    burst: float | None = None,
    retry_after: float | None = None,
    failure_rates: FailureRates = 0.0,
    respond: Respond | None = None,
    port: int = 0,
) -> Server:
    """Start a server on 127.0.0.1 that real OpenAI, Anthropic and Gemini clients can talk to.

    It speaks chat completions, responses and messages (with `stream=True`, too: a word an event), embeddings, and
    Gemini's generateContent without streaming, to any API key; OpenAI's files and batches and Anthropic's message
    batches, as `batches.script` has them; and every answer has the provider's own rate-limit headers, which tell where
    the limits below stand. Latency and fate of a request depend on the seed, the prompt and the attempt of that prompt
    (refused requests don't count), so a run is reproducible however it interleaves. A request is served until the last
    event of its stream is sent.

    Args:
        latency: Median seconds of an answer.
        sigma: Spread of the lognormal latency; 0 means that all take `latency`.
        scale: Factor on every latency: `latency=26, scale=0.01` is a fast-forward.
        seed: Chooses the dice.
        max_concurrency: Requests served at once; one more is refused with 429. None: no limit.
        rpm: Requests a minute: the refill of a token bucket; a request that finds it empty is refused with
            429 and a Retry-After. Failed requests count, and a refused one forfeits what was left.
            None: no limit.
        tpm: The same for tokens: estimated input, on the OpenAI paths with the request's `max_tokens`.
            None: no limit.
        burst: Requests that the full bucket holds. None: a minute's worth.
        retry_after: Seconds that every refusal names. None: what the bucket says; a refusal for
            concurrency then names none.
        failure_rates: Share of the requests that fail with a 500, or shares by status: `{500: 0.1, 529: 0.05,
            "drop": 0.01}`; "drop" cuts the connection. 429, 503 and 529 come at once, the others
            when the answer would have come.
        respond: Called with each `Request`, in the server's thread; returns a `Reply`, or None for
            the usual answer.
        port: 0: the system chooses.

    Returns:
        The running server.

    Raises:
        ImportError: When starlette or uvicorn is missing.
        TypeError, ValueError: When a setting makes no sense.
        OSError: When the port is taken.

    Threads: one daemon thread until `close`.
    """
    return Server(
        Behaviour(
            seed=seed,
            latency=latency,
            sigma=sigma,
            scale=scale,
            max_concurrency=max_concurrency,
            rpm=rpm,
            tpm=tpm,
            burst=burst,
            retry_after=retry_after,
            failure_rates=failure_rates,
        ),
        respond,
        port,
    )
