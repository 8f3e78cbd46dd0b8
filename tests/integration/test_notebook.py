"""In a real Jupyter kernel: every way to run, a bar, interrupting a cell, one async client for a whole notebook."""

from __future__ import annotations

import pytest

from fanmap.testing import serve

pytest.importorskip("ipykernel")
manager = pytest.importorskip("jupyter_client.manager")

# What Jupyter's own packages warn of among themselves is not ours to fail on.
pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning", "default::ResourceWarning")

SETUP = """
import asyncio, time
from fanmap import parallel_map, partial_results, to_sync

@parallel_map(max_concurrency=4)
async def ask(number):
    await asyncio.sleep(0.01)
    return number * 2

@parallel_map(max_concurrency=4)
def blocking(number):
    time.sleep(0.01)
    return number * 2
"""


class Notebook:
    """A kernel, a cell at a time."""

    def __init__(self):
        self._manager, self._client = manager.start_new_kernel(startup_timeout=600, kernel_name="python3")
        self.widgets = {}  # the state of each, as its page would have it
        self.run(SETUP)

    def run(self, cell, interrupt_when=None):
        """What the cell printed and what its last line was; with an interrupt once that text is printed."""
        printed, value, errors = [], None, []

        def hear(message):
            nonlocal value
            content = message["content"]
            if message["msg_type"] == "stream":
                printed.append(content["text"])
                if interrupt_when is not None and interrupt_when in content["text"]:
                    self._manager.interrupt_kernel()
            elif message["msg_type"] == "execute_result":
                value = content["data"]["text/plain"]
            elif message["msg_type"] == "error":
                errors.append(content)
            elif message["msg_type"] in ("comm_open", "comm_msg"):
                self.widgets.setdefault(content["comm_id"], {}).update(content["data"].get("state", {}))

        self._client.execute_interactive(cell, timeout=600, output_hook=hear, allow_stdin=False)
        assert not errors, "\n".join(errors[0]["traceback"])
        return "".join(printed), value

    def close(self):
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def notebook():
    running = Notebook()
    yield running
    running.close()


def test_every_way_to_run_in_a_cell_says_nothing_of_its_own(notebook):
    doubled = "[0, 2, 4, 6]"
    for cell in (
        "ask.map(range(4))",
        "await ask.amap(range(4))",
        "blocking.map(range(4))",
        "await blocking.amap(range(4))",
        "list(ask.imap(range(4)))",
        "[answer async for answer in ask.imap(range(4))]",
        "sorted(outcome.result() for outcome in ask.as_completed(range(4)))",
        "[to_sync(ask)(number) for number in range(4)]",
    ):
        assert notebook.run(cell) == ("", doubled), cell


def test_a_bar_in_a_cell(notebook):
    pytest.importorskip("tqdm")
    for cell in ("ask.map(range(8), progress=True)", "await blocking.amap(range(8), progress=True)"):
        printed, value = notebook.run(cell)
        assert value == "[0, 2, 4, 6, 8, 10, 12, 14]"
        if printed:  # text, where there are no widgets
            assert "8/8" in printed
            assert "Warning" not in printed


def test_with_ipywidgets_a_bar_is_the_notebooks_own_and_ends_where_the_run_does(notebook):
    pytest.importorskip("tqdm")
    pytest.importorskip("ipywidgets")

    def bar_of(cell):
        notebook.widgets.clear()
        assert notebook.run(cell)[0] == ""
        (bar,) = [state for state in notebook.widgets.values() if state.get("_model_name") == "FloatProgressModel"]
        return bar["value"], bar["max"], bar["bar_style"]

    for cell in (
        "ask.map(range(8), progress=True)",
        "await ask.amap(range(8), progress=True)",
        "list(blocking.imap(range(8), progress=True))",
        "[outcome async for outcome in ask.as_completed(range(8), progress=True)]",
    ):
        assert bar_of(cell) == (8, 8, "success"), cell
    value, most, style = bar_of("try: ask.map([1, 'a', None, *range(5)], progress=True)\nexcept TypeError: pass")
    assert value < most
    assert style == "danger"  # red: the run ended before its end


INTERRUPTED = """
@parallel_map(max_concurrency=2)
{kind} slowly(number):
    if number == 6:
        print("now", flush=True)
    {sleep}
    return number

try:
    {run}
except (KeyboardInterrupt, asyncio.CancelledError) as error:
    finished = partial_results(error)
    print("got", all(key == value for key, value in finished.items()), 4 <= len(finished) < 1000)
"""


@pytest.mark.parametrize(
    ("kind", "sleep", "run"),
    [
        ("def", "time.sleep(0.01 if number < 6 else 0.3)", "slowly.map(range(1000))"),
        ("async def", "await asyncio.sleep(0.01 if number < 6 else 0.3)", "slowly.map(range(1000))"),
        ("async def", "await asyncio.sleep(0.01 if number < 6 else 0.3)", "await slowly.amap(range(1000))"),
    ],
    ids=["def map", "async def map", "async def amap"],
)
def test_an_interrupted_cell_keeps_what_had_finished(notebook, kind, sleep, run):
    # A kernel whose loop is idle hears of an interrupt when something wakes the loop, with or without fanmap.
    printed, _ = notebook.run(INTERRUPTED.format(kind=kind, sleep=sleep, run=run), interrupt_when="now")
    assert "got True True" in printed
    assert notebook.run("ask.map(range(2))") == ("", "[0, 2]")  # and the notebook goes on


def test_one_async_client_for_three_cells(notebook):
    pytest.importorskip("openai")
    with serve(latency=0.001) as server:
        notebook.run(
            f"""
from openai import AsyncOpenAI
client = AsyncOpenAI(base_url={server.openai_url!r}, api_key="none", max_retries=0)

@parallel_map(max_concurrency=4)
async def prompt(text):
    return (await client.responses.create(model="small", input=text)).output_text
"""
        )
        expected = str([f"[simulated] {text}" for text in "abcd"])
        for _ in range(3):
            assert notebook.run("prompt.map('a b c d'.split())") == ("", expected)
        notebook.run("to_sync(client.close)()")

        notebook.run(
            f"client = AsyncOpenAI(base_url={server.openai_url!r}, api_key='none', max_retries=0)",
        )
        for _ in range(3):
            assert notebook.run("await prompt.amap('a b c d'.split())") == ("", expected)
        printed, _ = notebook.run(
            """
try:
    prompt.map("a b c d".split())
except Exception as error:
    print(*error.__notes__)
"""
        )
        assert "use `.map` everywhere, or await everything within one `asyncio.run`" in printed
        assert server.max_in_flight <= 4
