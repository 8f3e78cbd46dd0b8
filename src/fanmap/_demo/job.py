"""What each way of the demo is given: the text, and functions that call a real client.

The functions made here are the user's: one language, one call, no loop, no retry and no word of fanmap. The
clients' own retries are off in all of them, so that a call is one request and a refusal is seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import openai

if TYPE_CHECKING:
    import anthropic


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it was seen, by the server where it is ours, else by this side; in seconds."""

    started: float
    seconds: float
    answered: bool
    refused: bool


@dataclass(frozen=True, slots=True)
class Job:
    """The work of one way.

    Attributes:
        text: what is translated.
        url: the `base_url` of an OpenAI client.
        anthropic_url: the same of an Anthropic client; "" where there is none.
        simulated: it goes to the simulated server on this machine.
        bars: whether progress bars can be seen.
        trace: where the run is drawn; None: nowhere.
        requests: what was sent so far, as counted on this side.
    """

    text: str = field(repr=False)
    model: str
    url: str
    anthropic_url: str
    key: str = field(repr=False)
    simulated: bool
    bars: bool
    trace: str | None = None
    requests: list[Request] = field(default_factory=list[Request])

    def prompt(self, language: str) -> str:
        """What a model is asked."""
        return (
            f"Translate the following markdown file into {language}. Keep the markdown, the links and the code "
            f"blocks as they are. Answer with the translation alone.\n\nOriginal:\n{self.text}"
        )

    def show(self, text: str) -> None:
        """Show progress where there is no bar."""
        if not self.bars:
            print(text, end="", flush=True)

    @contextmanager
    def counted(self) -> Generator[None]:
        """Surrounds one request and notes how it went. Threads: any."""
        started, answered, refused = time.perf_counter(), False, False
        try:
            yield
            answered = True
        except openai.RateLimitError:
            refused = True
            raise
        finally:
            self.requests.append(Request(started, time.perf_counter() - started, answered, refused))

    # Clients. In front of a server on this machine no proxy of the environment may stand.

    def sync_client(self) -> openai.OpenAI:
        """The sync openai client."""
        transport = openai.DefaultHttpxClient(trust_env=False) if self.simulated else None
        return openai.OpenAI(base_url=self.url, api_key=self.key, max_retries=0, http_client=transport)

    def async_client(self) -> openai.AsyncOpenAI:
        """The async openai client."""
        transport = openai.DefaultAsyncHttpxClient(trust_env=False) if self.simulated else None
        return openai.AsyncOpenAI(base_url=self.url, api_key=self.key, max_retries=0, http_client=transport)

    def anthropic_client(self) -> anthropic.AsyncAnthropic:
        """The async anthropic client."""
        import anthropic  # here, because it need not be installed for an endpoint of the user's

        return anthropic.AsyncAnthropic(
            base_url=self.anthropic_url,
            api_key=self.key,
            max_retries=0,
            http_client=anthropic.DefaultAsyncHttpxClient(trust_env=False),
        )

    # The user's function, once a client.

    def with_sync(self, client: openai.OpenAI) -> Callable[[str], str]:
        """`translate`, as it is with the sync openai client."""

        def translate(language: str) -> str:
            with self.counted():
                reply = client.chat.completions.create(
                    model=self.model, messages=[{"role": "user", "content": self.prompt(language)}]
                )
            return reply.choices[0].message.content or ""

        return translate

    def with_async(self, client: openai.AsyncOpenAI) -> Callable[[str], Coroutine[Any, Any, str]]:
        """`translate`, as it is with the async openai client."""

        async def translate(language: str) -> str:
            with self.counted():
                reply = await client.chat.completions.create(
                    model=self.model, messages=[{"role": "user", "content": self.prompt(language)}]
                )
            return reply.choices[0].message.content or ""

        return translate

    def with_anthropic(self, client: anthropic.AsyncAnthropic) -> Callable[[str], Coroutine[Any, Any, str]]:
        """`translate`, as it is with the async anthropic client."""

        async def translate(language: str) -> str:
            with self.counted():
                reply = await client.messages.create(
                    model=self.model,
                    max_tokens=16_000,
                    messages=[{"role": "user", "content": self.prompt(language)}],
                )
            return "".join(block.text for block in reply.content if block.type == "text")

        return translate
