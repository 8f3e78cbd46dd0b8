"""Peers' limiters over Redis, as their documentation has them; a caller that may not start asks again in 20 ms."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Callable
from typing import Any

NAMES = ("pyrate-limiter", "limits", "throttled-py")


def peer(name: str, url: str, rate: list[float]) -> Callable[[Callable[[], Awaitable[None]]], Any]:
    """Calls under one rate of all processes."""
    amount, per = int(rate[0]), rate[1]
    import redis

    if name == "limits":
        import limits

        limiter: Any = limits.strategies.MovingWindowRateLimiter(limits.storage.storage_from_string(url))
        item = limits.RateLimitItemPerSecond(amount, int(per))
        try_one = lambda: limiter.hit(item, "bench")  # noqa: E731
    elif name == "pyrate-limiter":
        import pyrate_limiter

        rates = [pyrate_limiter.Rate(amount, int(per * 1000))]
        bucket = pyrate_limiter.RedisBucket.init(rates, redis.Redis.from_url(url), "bench")
        limiter = pyrate_limiter.Limiter(bucket)
        try_one = lambda: bool(limiter.try_acquire("bench", blocking=False))  # noqa: E731
    else:
        import throttled

        store = throttled.RedisStore(server=url)
        quota = throttled.rate_limiter.per_duration(datetime.timedelta(seconds=per), amount, burst=amount)
        limiter = throttled.Throttled(key="bench", using="gcra", quota=quota, store=store)
        try_one = lambda: not limiter.limit().limited  # noqa: E731

    async def call(work: Callable[[], Awaitable[None]]) -> None:
        while not await asyncio.to_thread(try_one):
            await asyncio.sleep(0.02)
        await work()

    return call
