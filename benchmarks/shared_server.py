"""A server with so many slots, which refuses a request beyond them at once: a line is a request, so many seconds long.

    python -m benchmarks.shared_server SLOTS

It says its port, and at the end of its standard input what happened: [when, +1 | -1 | 0] where a request began, ended
or was refused. `Served` runs it and `ask` asks it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from typing import Any


async def ask(at: tuple[asyncio.StreamReader, asyncio.StreamWriter], lasts: float) -> bool:
    """Was it served?"""
    at[1].write(f"{lasts}\n".encode())
    return await at[0].readline() == b"ok\n"


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readline()
    except ConnectionError:
        return b""


async def serve(slots: int) -> None:
    """Until standard input ends."""
    log: list[tuple[float, int]] = []
    held = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal held
        while line := await _line(reader):
            if held >= slots:
                log.append((time.monotonic(), 0))
                writer.write(b"no\n")
                continue
            held += 1
            log.append((time.monotonic(), 1))
            await asyncio.sleep(float(line))
            held -= 1
            log.append((time.monotonic(), -1))
            writer.write(b"ok\n")

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    log += [(time.monotonic(), -1)] * held
    print(json.dumps(log), flush=True)


class Served:
    """The server as a process of its own."""

    def __init__(self, slots: int) -> None:
        command = [sys.executable, "-m", "benchmarks.shared_server", str(slots)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def log(self) -> list[Any]:
        """What happened; it ends."""
        log: list[Any] = json.loads(self._process.communicate()[0])
        return log


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
