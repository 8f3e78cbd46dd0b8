"""What the examples share: where their calls go, and how long they took.

Without settings, calls go to a loopback server of `fanmap.testing`, which needs no key and marks its
answers as simulated. `--model` (or FANMAP_MODEL) sends them to a real endpoint:

    --base-url URL       FANMAP_BASE_URL       the provider's own address unless given
    --model NAME         FANMAP_MODEL
    --api-key-env NAME   FANMAP_API_KEY_ENV    the variable that holds the key; local models need none
"""

from __future__ import annotations

import argparse
import atexit
import functools
import inspect
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, cast

from fanmap.testing import serve

Function = TypeVar("Function", bound=Callable[..., Any])
Provider = Literal["openai", "anthropic", "ollama"]
URLS: dict[Provider, str] = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
    "ollama": "http://localhost:11434/v1",
}


@dataclass(frozen=True)
class Endpoint:
    base_url: str
    model: str
    api_key: str = field(repr=False)


def endpoint(provider: Provider, about: str | None) -> Endpoint:
    """The endpoint that the command line or the environment names; a loopback server where neither does."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    env = os.environ.get
    parser.add_argument("--base-url", default=env("FANMAP_BASE_URL"), help=f"default: {URLS[provider]}")
    parser.add_argument("--model", default=env("FANMAP_MODEL"), help="without it: a loopback server")
    parser.add_argument(
        "--api-key-env",
        metavar="NAME",
        default=env("FANMAP_API_KEY_ENV"),
        help="the environment variable that holds the key",
    )
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the loopback server's latency")
    given = parser.parse_args()
    if given.model:
        key = env(given.api_key_env) if given.api_key_env else "none"
        if not key:
            parser.error(f"--api-key-env must name a variable that is set, got {given.api_key_env!r}")
        return Endpoint(given.base_url or URLS[provider], given.model, key)
    if given.base_url or given.api_key_env:
        parser.error("--model must be given with a real endpoint")
    server = serve(latency=0.5, scale=given.scale)
    atexit.register(server.close)
    return Endpoint(server.anthropic_url if provider == "anthropic" else server.openai_url, "simulated", "none")


class Stopwatch:
    """Sets the time of the whole beside the sum of its calls.

    `@stopwatch.call` on the function that makes one call; `with stopwatch:` around the whole.
    """

    def __init__(self) -> None:
        self._calls: list[float] = []
        self._began = 0.0

    def call(self, function: Function) -> Function:
        timed: Any
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def timed(*args: Any, **kwargs: Any) -> Any:
                began = time.perf_counter()
                try:
                    return await function(*args, **kwargs)
                finally:
                    self._calls.append(time.perf_counter() - began)

        else:

            @functools.wraps(function)
            def timed(*args: Any, **kwargs: Any) -> Any:
                began = time.perf_counter()
                try:
                    return function(*args, **kwargs)
                finally:
                    self._calls.append(time.perf_counter() - began)

        return cast("Function", timed)

    def __enter__(self) -> None:
        self._calls.clear()
        self._began = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            whole, calls = time.perf_counter() - self._began, sum(self._calls)
            ratio = f"{calls / whole:.1f} times"
            print(f"{whole:.2f} s for {len(self._calls)} calls of {calls:.2f} s in all: {ratio}")


stopwatch = Stopwatch()
