"""Where the requests of a way go: a simulated server of its own on this machine, or the user's endpoint."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import openai

from fanmap._demo.address import Address
from fanmap._demo.job import Job, Request
from fanmap._failure import CommandError
from fanmap.testing import Server, serve

# Seconds of a simulated call, the median: what a tutorial measured on this task in minutes, about a
# hundred times faster. The spread makes the slowest of eight calls about a fifth of their sum, as there.
LATENCY = 1.4
_SIGMA = 0.3
_SEED = 2

Opened = tuple[Job, Callable[[], list[Request]]]


@dataclass(frozen=True, slots=True)
class Simulated:
    """The simulated server: a new one for each way, the same dice in all of them."""

    text: str = field(repr=False)
    bars: bool
    scale: float

    @contextmanager
    def open(self, server_allows: int | None) -> Generator[Opened]:
        """A job, and what tells its requests afterwards: the server's own log."""
        with serve(
            latency=LATENCY, sigma=_SIGMA, scale=self.scale, seed=_SEED, max_concurrency=server_allows
        ) as server:
            yield (
                Job(self.text, "simulated", server.openai_url, server.anthropic_url, "none", True, self.bars),
                lambda: _logged(server),
            )


@dataclass(frozen=True, slots=True)
class Real:
    """An endpoint that speaks chat completions."""

    text: str = field(repr=False)
    bars: bool
    address: Address

    @contextmanager
    def open(self, server_allows: int | None) -> Generator[Opened]:
        """A job, and what tells its requests afterwards: our own count."""
        del server_allows
        at = self.address
        job = Job(self.text, at.model, at.url, "", at.key, False, self.bars)
        yield job, lambda: job.requests


def _logged(server: Server) -> list[Request]:
    return [
        Request(record.arrived, record.ended - record.arrived, record.status == 200, record.status == 429)
        for record in server.log
    ]


def explain(error: Exception, address: Address) -> CommandError:
    """What went wrong with the first request, in one line; never the reply's text, which may quote the key."""
    if isinstance(error, openai.APITimeoutError):
        said = "did not answer in time"
    elif isinstance(error, openai.APIConnectionError):
        cause = error.__cause__
        said = f"cannot be reached ({' '.join(str(cause).split()) or type(cause).__name__})"
    elif isinstance(error, (openai.AuthenticationError, openai.PermissionDeniedError)):
        said = f"refused the key with {error.status_code}: --api-key-env names the variable that holds it"
    elif isinstance(error, openai.NotFoundError):
        said = "answered 404: check --model, and the path, which usually ends in /v1"
    elif isinstance(error, openai.APIStatusError):
        said = f"answered {error.status_code}"
    else:
        said = f"does not answer like an OpenAI-compatible endpoint ({type(error).__name__})"
    return CommandError(f"{address.shown} {said}", status=1)
