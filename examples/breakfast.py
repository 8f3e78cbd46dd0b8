"""Breakfast: coffee takes 3 s and toast 2 s; together they take as long as the coffee.

    python examples/breakfast.py
    python examples/breakfast.py --scale 0.01          (a hundred times as fast)
    python examples/breakfast.py --cooks 1             (one thing at a time)

`gather_bounded` is `asyncio.gather` with a bound: one cook makes one thing at a time.
"""

import argparse
import asyncio

from _endpoint import stopwatch

from fanmap import gather_bounded


@stopwatch.call
async def coffee(scale):
    await asyncio.sleep(3 * scale)
    return "coffee"


@stopwatch.call
async def toast(scale):
    await asyncio.sleep(2 * scale)
    return "toast"


async def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--scale", type=float, default=1.0, help="factor on all times")
    parser.add_argument("--cooks", type=int, default=2, help="things made at once")
    given = parser.parse_args()
    with stopwatch:
        breakfast = await gather_bounded(  # was: asyncio.gather(
            coffee(given.scale), toast(given.scale), max_concurrency=given.cooks
        )
    print(" and ".join(breakfast))


if __name__ == "__main__":
    asyncio.run(main())
