"""Memory follows the concurrency, not the input (G10). In a process of its own, whose peak is its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

resource = pytest.importorskip("resource")

SCRIPT = """
import asyncio, itertools, resource, sys
from fanmap import gather_bounded, parallel_map

ways, total = sys.argv[1], int(sys.argv[2])

@parallel_map(max_concurrency=16)
async def one(item):
    return item

@parallel_map(max_concurrency=16)
def plain(item):
    return item

def numbers(count):
    for number in range(count):
        yield number

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

def expect(value, expected, count):
    assert value == expected
    if expected == 1_000 or expected == count - 1:
        blocks.append(sys.getallocatedblocks())

async def own_loop(count):
    expected = 0
    async for value in one.imap(numbers(count)):
        expect(value, expected, count)
        expected += 1
    assert expected == count

def background(count):
    for expected, value in enumerate(one.imap(numbers(count))):
        expect(value, expected, count)

def threads(count):
    for expected, value in enumerate(plain.imap(numbers(count))):
        expect(value, expected, count)

def run(count):
    if ways == "own_loop":
        asyncio.run(own_loop(count))
    else:
        globals()[ways](count)

blocks = []
run(5_000)  # everything is warm and imported
before = peak()
run(total)
print(blocks[-1] - blocks[-2], peak() - before)
"""


def growth(way, total):
    """Objects that were made between the thousandth item and the last and are still there, and bytes at the peak."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, way, str(total)], capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr
    return map(int, done.stdout.split())


@pytest.mark.parametrize(
    "way", ["threads", *(pytest.param(way, marks=pytest.mark.whole) for way in ("own_loop", "background"))]
)
@pytest.mark.whole
def test_many_items_of_imap_leave_memory_flat(way):
    objects, _ = growth(way, 20_000)
    assert objects < 2_000


@pytest.mark.nightly
@pytest.mark.parametrize("way", ["own_loop", "background", "threads"])
def test_a_million_items_of_imap_leave_memory_flat(way):
    objects, size = growth(way, 1_000_000)
    assert objects < 2_000
    assert size < 5_000_000


def test_an_endless_input_is_fine():
    from fanmap import parallel_map

    def endless():
        number = 0
        while True:
            yield number
            number += 1

    with parallel_map(max_concurrency=4)(str).imap(endless()) as results:
        assert [next(results) for _ in range(1000)] == [str(number) for number in range(1000)]
