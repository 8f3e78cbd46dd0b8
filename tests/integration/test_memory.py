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

async def own_loop(count):
    expected = 0
    async for value in one.imap(numbers(count)):
        assert value == expected
        expected += 1
    assert expected == count

def background(count):
    for expected, value in enumerate(one.imap(numbers(count))):
        assert value == expected

def threads(count):
    for expected, value in enumerate(plain.imap(numbers(count))):
        assert value == expected

def run(count):
    if ways == "own_loop":
        asyncio.run(own_loop(count))
    else:
        globals()[ways](count)

run(20_000)  # everything is warm and imported
before = peak()
run(total)
print(peak() - before)
"""


@pytest.mark.parametrize("way", ["own_loop", "background", "threads"])
def test_many_items_of_imap_leave_memory_flat(way):
    check(way, 150_000)


@pytest.mark.nightly
@pytest.mark.parametrize("way", ["own_loop", "background", "threads"])
def test_a_million_items_of_imap_leave_memory_flat(way):
    check(way, 1_000_000)


def check(way, total):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, way, str(total)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 5_000_000


def test_an_endless_input_is_fine():
    from fanmap import parallel_map

    def endless():
        number = 0
        while True:
            yield number
            number += 1

    with parallel_map(max_concurrency=4)(str).imap(endless()) as results:
        assert [next(results) for _ in range(1000)] == [str(number) for number in range(1000)]
