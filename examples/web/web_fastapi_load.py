"""A load test of web_fastapi.py against a simulated provider: people's waits with and without the batch beside them.

pip install "fanmap[testing]" fastapi uvicorn openai httpx
python web_fastapi_load.py            # in two minutes; with --scale 0.1 faster, and less to be seen
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import threading
import time

import httpx
import uvicorn

from fanmap.testing import serve


async def people(browser: httpx.AsyncClient, count: int, scale: float) -> list[float]:
    """Seconds to the first word, of one after the other."""
    waits = []
    for number in range(count):
        began = time.perf_counter()
        async with browser.stream("GET", "/tell", params={"prompt": f"question {number}"}) as response:
            response.raise_for_status()
            words = response.aiter_text()
            await anext(words)
            waits.append(time.perf_counter() - began)
            async for _ in words:
                pass
        await asyncio.sleep(0.05 * scale)
    return waits


async def main(url: str, scale: float) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=httpx.Limits(max_connections=100)) as browser:
        alone = await people(browser, 20, scale)
        texts = [f"text {number}" for number in range(int(1500 * scale))]
        job = asyncio.create_task(browser.post("/summaries", json=texts))
        await asyncio.sleep(0.5 * scale)
        beside = await people(browser, 20, scale)
        print(f"first word, nobody else:        median {statistics.median(alone):.2f} s, worst {max(alone):.2f} s")
        print(f"first word, a batch beside it:  median {statistics.median(beside):.2f} s, worst {max(beside):.2f} s")
        crowd = await asyncio.gather(*[browser.get("/tell", params={"prompt": f"crowd {n}"}) for n in range(60)])
        served = sum(answer.status_code == 200 for answer in crowd)
        turned = [answer for answer in crowd if answer.status_code == 503]
        print(f"60 people at once: {served} served, {len(turned)} told to come again in", end=" ")
        print(f"{turned[0].headers['retry-after']} s" if turned else "-")
        print(f"the batch: {len((await job).json())} summaries")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0, help="of all times, and of the batch")
    scale = parser.parse_args().scale
    with serve(latency=0.2 * scale, sigma=0.0, max_concurrency=8) as server:
        os.environ |= {"OPENAI_BASE_URL": server.openai_url, "OPENAI_API_KEY": "none", "MODEL": "simulated"}
        from web_fastapi import app

        web = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
        thread = threading.Thread(target=web.run)
        thread.start()
        while not web.started:
            time.sleep(0.01)
        asyncio.run(main(f"http://127.0.0.1:{web.servers[0].sockets[0].getsockname()[1]}", scale))
        web.should_exit = True
        thread.join()
