"""50 people at once, 20 calls each, 32 slots, 15 seconds of patience: who is answered, with and without a door.

pip install fanmap
python overload.py            # in virtual time: no server, no key, no waiting
"""

from __future__ import annotations

import asyncio

from fanmap import Busy, DeadlineExceeded, Limits, parallel_map
from fanmap.testing import SimulatedLLM, VirtualTime

PEOPLE, CALLS, SLOTS, PATIENCE = 50, 20, 32, 15.0


class Day:
    """The same 50 people, before a provider that answers in 0.64 s."""

    def __init__(self, *, door: int = PEOPLE, max_waiting: int | None = None) -> None:
        self.llm = SimulatedLLM(latency=0.64, sigma=0.2)
        self.limits = Limits(max_concurrency=SLOTS, max_waiting=max_waiting)
        self.ask = parallel_map(self.llm.acall, limits=self.limits)
        self.door = asyncio.Semaphore(door)
        self.answered: list[float] = []
        self.turned_away = self.thrown_away = 0

    async def request(self, person: int, began: float, left: float) -> None:
        """What the endpoint does for one of them."""
        loop = asyncio.get_running_loop()
        prompts = [f"{person} asks {number}" for number in range(CALLS)]
        try:
            async with asyncio.timeout(left), self.door:
                deadline = began + PATIENCE - loop.time()
                await self.ask.amap(prompts, max_concurrency=8, deadline=deadline)
        except (DeadlineExceeded, TimeoutError):
            return
        self.answered.append(loop.time() - began)

    async def person(self, number: int) -> None:
        """Asks, and comes again when told to, for as long as they have patience."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while (left := began + PATIENCE - loop.time()) > 0:
            try:
                await self.request(number, began, left)
                return
            except Busy as busy:
                self.turned_away += 1
                await asyncio.sleep(max(1.0, busy.retry_after))

    async def all_of_it(self) -> None:
        await asyncio.gather(*[self.person(number) for number in range(PEOPLE)])
        served = sum(record.status == 200 for record in self.llm.log)
        self.thrown_away = served - CALLS * len(self.answered)


def main() -> None:
    for name, settings in {
        "everybody at once": {},
        "4 requests at a time": {"door": 4},
        "max_waiting=32": {"max_waiting": 32},
        "max_waiting=64": {"max_waiting": 64},
    }.items():
        with VirtualTime() as virtual:
            day = Day(**settings)
            virtual.run(day.all_of_it())
        first = f"{min(day.answered):.1f} s" if day.answered else "-"
        print(
            f"{name + ':':22}{len(day.answered):3} of {PEOPLE} answered, {day.thrown_away:4} calls for nothing, "
            f"first after {first}, {day.turned_away} times told to come again"
        )


if __name__ == "__main__":
    main()
