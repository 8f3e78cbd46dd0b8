"""Asks an example of a web app as people would, and prints what comes back; `python web_apps.py FOLDER NAME`.

In a process of its own, because a framework is set up once in each. The provider is simulated.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from fanmap import parallel_map
from fanmap.testing import serve

TEXTS = [f"text {number}" for number in range(12)]
SUMMARIES = [f"[simulated] Summarise: {text}" for text in TEXTS]
PATIENCE = 120.0  # seconds after which something that should have happened has not, on the slowest machine


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.005)


def shown(what: str, status: int, answers: list[str]) -> None:
    right = sum(answer == expected for answer, expected in zip(answers, SUMMARIES, strict=True))
    print(f"{what}: {status}, {right} summaries in order")


@contextmanager
def held(module: Any) -> Iterator[Callable[[], None]]:
    """The example's blocking client answers when it is let go."""
    gate, client = threading.Event(), module.client

    def create(**_: object) -> object:
        assert gate.wait(PATIENCE)
        return SimpleNamespace(output_text="at last")

    module.client = SimpleNamespace(responses=SimpleNamespace(create=create))
    try:
        yield gate.set
    finally:
        gate.set()
        module.client = client


def crowd(module: Any, post: Callable[[list[str]], Any]) -> None:
    """Fill all slots and the line behind them, and ask once more."""
    account = module.account
    with held(module) as let_go, ThreadPoolExecutor(24) as pool:
        people = [pool.submit(post, [f"text {number}"]) for number in range(24)]
        until(lambda: (account.stats.in_flight, account.stats.waiting) == (8, 16))
        late = post(["a late text"])
        let_go()
        served = sum(one.result().status_code == 200 for one in people)
    print(f"25 people at once: {served} served, one {late.status_code}: come again in {late.headers['Retry-After']} s")
    until(lambda: account.stats.in_flight == account.stats.waiting == 0)  # a result is there before its slot is free


def ask_django(server: Any) -> None:
    import httpx
    import web_django
    from django.db import close_old_connections

    web_django.make_articles()
    in_wsgi = httpx.Client(transport=httpx.WSGITransport(web_django.wsgi), base_url="http://here", timeout=PATIENCE)
    for path in ("/summaries", "/async-summaries", "/articles") * 2:  # twice: the second finds what the first one left
        if path == "/articles":
            web_django.make_articles(*TEXTS)
        reply = in_wsgi.post(path, json=TEXTS)
        shown(f"WSGI {path}", reply.status_code, reply.json())

    async def under_asgi() -> None:
        transport = httpx.ASGITransport(web_django.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://here", timeout=PATIENCE) as browser:
            for path in ("/summaries", "/async-summaries", "/articles") * 2:
                if path == "/articles":
                    await asyncio.to_thread(web_django.make_articles, *TEXTS)
                reply = await browser.post(path, json=TEXTS)
                shown(f"ASGI {path}", reply.status_code, reply.json())

    asyncio.run(under_asgi())
    kept = web_django.Article.objects.exclude(summary="").count()
    print(f"in the database: {kept} articles with a summary")
    crowd(web_django, lambda texts: in_wsgi.post("/summaries", json=texts))
    close_old_connections()


def ask_flask(server: Any) -> None:
    import web_flask

    browser = web_flask.app.test_client
    reply = browser().post("/summaries", json=TEXTS)
    shown("/summaries", reply.status_code, reply.get_json())
    print(f"/tell: {browser().get('/tell', query_string={'prompt': 'one two three'}).get_data(as_text=True)}")
    half = browser().get("/tell", query_string={"prompt": "one two three"}, buffered=False)
    words = iter(half.response)
    print(
        f"half a story: {next(words).decode().strip()}, calls under way: {web_flask.account.stats.in_flight}", end=", "
    )
    half.close()
    print(f"after its reader has left: {web_flask.account.stats.in_flight}")
    crowd(web_flask, lambda texts: browser().post("/summaries", json=texts))


@parallel_map
def ask_for_ever(item: int) -> int:
    return item


STOPPED = """
import streamlit as st
from web_apps import ask_for_ever

with ask_for_ever.as_completed(range(100_000)) as outcomes:
    for done, outcome in enumerate(outcomes, 1):
        if done == 20:
            st.stop()  # what a click does at the next st call
"""


def ask_streamlit(server: Any) -> None:
    from streamlit.testing.v1 import AppTest

    pages = []
    for _ in range(2):  # two users
        page = AppTest.from_file(f"{sys.argv[1]}/web_streamlit.py", default_timeout=PATIENCE).run()
        page.text_area[0].set_value("\n".join(TEXTS))
        page.button[0].click().run()
        assert not page.exception, page.exception
        table = page.table[0].value
        shown("the table", 200, list(table["summary"]))
        pages.append(page)
    page.chat_input[0].set_value("one two three").run()
    assert not page.exception, page.exception
    print(f"the story: {page.markdown[0].value}")

    import web_apps  # as the script does: it is not the module that runs here

    stopped = AppTest.from_string(STOPPED, default_timeout=PATIENCE).run()
    assert not stopped.exception, stopped.exception
    until(lambda: web_apps.ask_for_ever.stats.in_flight == 0)  # threads that were left behind end soon
    stats = web_apps.ask_for_ever.stats
    print(f"stopped by a click: {'all' if stats.done > 50_000 else 'a few'} calls made, {stats.in_flight} under way")


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    with serve(latency=0.005, sigma=0) as server:
        os.environ |= {"OPENAI_BASE_URL": server.openai_url, "OPENAI_API_KEY": "none", "MODEL": "simulated"}
        {"django": ask_django, "flask": ask_flask, "streamlit": ask_streamlit}[sys.argv[2]](server)
        print(f"calls at once: at most {server.max_in_flight}")
