"""`trace=` on every run: written however the run ends, true, cheap, and without a word of users' data."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import pytest

import fanmap
from fanmap import DeadlineExceeded, Limits, Retry, gather_bounded, parallel_map, partial_results
from fanmap._drive import clock
from fanmap._drive.tracing import TracedRun
from fanmap.testing import SimulatedAPIError, VirtualTime, sleep

from .conftest import pause


def events(path):
    return json.loads(path.read_text(encoding="utf-8"))["traceEvents"]


def of(kind, found):
    return [event for event in found if event.get("cat") == kind]


def sentence(path):
    return json.loads(path.read_text(encoding="utf-8"))["otherData"]["sentence"]


# In every way


def test_every_way_writes_each_call_in_no_more_lanes_than_were_under_way(way, tmp_path):
    path = tmp_path / "run.json"

    async def body(item):
        await pause(0.5 + item % 3)
        return item

    with way.virtually():
        assert way.run(way.decorate(body, max_concurrency=4), range(20), trace=path) == list(range(20))
    calls = of("call", events(path))
    assert sorted(event["args"]["index"] for event in calls) == list(range(20))
    assert all(event["dur"] == (0.5 + event["args"]["index"] % 3) * 1e6 for event in calls)
    assert {event["tid"] for event in calls} == {1, 2, 3, 4}
    counters = [event["args"]["calls"] for event in events(path) if event["name"] == "calls under way"]
    assert max(counters) == 4
    assert "Too few slots" in sentence(path)


@pytest.mark.parametrize("lazy", [False, True])
def test_gather_bounded_is_drawn(lazy, tmp_path):
    async def body(item):
        await asyncio.sleep(item)
        if item == 3:
            raise ValueError("no")
        return item

    async def main():
        given = [body(item) for item in (1, 2, 3, 4)]
        options = {"max_concurrency": 2, "return_exceptions": True, "trace": path}
        return await (gather_bounded((one for one in given), **options) if lazy else gather_bounded(*given, **options))

    path = tmp_path / "run.json"
    with VirtualTime() as virtual:
        assert [type(one) for one in virtual.run(main())] == [int, int, ValueError, int]
    calls = {event["args"]["index"]: event for event in of("call", events(path))}
    assert [calls[index]["dur"] for index in range(4)] == [1e6, 2e6, 3e6, 4e6]
    assert [calls[index]["args"]["ended"] for index in range(4)] == ["returned", "returned", "failed", "returned"]
    assert {event["tid"] for event in calls.values()} == {1, 2}


def test_a_folder_that_is_not_there_is_said_at_any_time(tmp_path):
    results = parallel_map(str).imap([1])
    assert list(results) == ["1"]
    for run in (lambda path: results.trace(path), lambda path: parallel_map(str).map([1], trace=path)):
        with pytest.raises(FileNotFoundError, match="trace cannot be written: its folder does not exist"):
            run(tmp_path / "nowhere" / "run.html")


def test_gather_bounded_awaits_nothing_where_the_file_cannot_be_written(tmp_path):
    async def main():
        with pytest.raises(FileNotFoundError, match="trace cannot be written"):
            await gather_bounded(asyncio.sleep(0), trace=tmp_path / "nowhere" / "run.html")

    asyncio.run(main())


def test_the_streams_of_a_run_are_drawn_to_their_ends(threads_or_loop, tmp_path):
    path = tmp_path / "run.json"

    def chunks(item):
        for _ in range(2):
            sleep(1.0)
            yield item

    async def achunks(item):
        for _ in range(2):
            await asyncio.sleep(1.0)
            yield item

    with VirtualTime() as virtual:
        if not threads_or_loop.is_async:
            got = list(parallel_map(max_concurrency=2)(chunks).stream(range(4), trace=path))
        else:

            async def main():
                return [pair async for pair in parallel_map(max_concurrency=2)(achunks).stream(range(4), trace=path)]

            got = virtual.run(main())
    assert sorted(got) == [(item, item) for item in range(4) for _ in range(2)]
    calls = of("call", events(path))
    assert sorted(event["args"]["index"] for event in calls) == [0, 1, 2, 3]
    assert [event["dur"] for event in calls] == [2e6] * 4
    assert {event["tid"] for event in calls} == {1, 2}


def test_a_failure_and_a_deadline_are_drawn_too(way, tmp_path):
    failed, late = tmp_path / "failed.json", tmp_path / "late.json"

    async def fails(item):
        await pause(1.0)
        if item == 5:
            raise ValueError("no")

    async def lasts(item):
        await pause(1.0 if item < 3 else 100.0)

    with way.virtually():
        if way.fails_fast:
            with pytest.raises(ValueError, match="no"):
                way.run(way.decorate(fails, max_concurrency=3), range(20), trace=failed)
        else:
            way.run(way.decorate(fails, max_concurrency=3), range(20), trace=failed)
        with pytest.raises(DeadlineExceeded):
            way.run(way.decorate(lasts, max_concurrency=3), range(20), trace=late, deadline=10.0)
    assert [event["args"]["index"] for event in of("call", events(failed)) if event["args"]["ended"] == "failed"] == [5]
    fates = {event["args"]["index"]: event["args"]["ended"] for event in of("call", events(late))}
    assert [fates[item] for item in range(3)] == ["returned"] * 3
    assert {fates[item] for item in range(3, 6)} <= {"cut", "under_way"}


def test_a_run_that_is_given_up_is_drawn_as_far_as_it_came(lazy_way, tmp_path):
    path = tmp_path / "run.json"

    async def body(item):
        await pause(1.0)
        return item

    async def main():
        ask = lazy_way.decorate(body, max_concurrency=2)
        async with lazy_way.opened(lazy_way.start(ask, range(100), trace=path)) as results:
            for _ in range(4):
                await lazy_way.next(results)

    with lazy_way.virtually():
        lazy_way.go(main)
    assert 4 <= len(of("call", events(path))) <= 8


def test_a_run_that_still_goes_can_be_drawn_with_and_without_trace(lazy_way, tmp_path):
    drawn = {}

    async def body(item):
        await pause(1.0)
        return item

    async def main():
        ask = lazy_way.decorate(body, max_concurrency=2)
        for name, options in (("on", {"trace": tmp_path / "end.json"}), ("off", {})):
            results = lazy_way.start(ask, range(10), **options)
            results.trace(tmp_path / "before.json")
            results.trace(tmp_path / "before.html")
            async with lazy_way.opened(results):
                await lazy_way.next(results)
                results.trace(tmp_path / f"{name}.json")
                results.trace(tmp_path / f"{name}.html")
        drawn["name"] = name

    with lazy_way.virtually():
        lazy_way.go(main)
    assert sentence(tmp_path / "before.json") == "No call was made."
    assert '<p id="when">It has not begun.</p>' in (tmp_path / "before.html").read_text(encoding="utf-8")
    calls = of("call", events(tmp_path / "on.json"))
    assert {event["args"]["index"] for event in calls} >= {0, 1}
    assert "under_way" in {event["args"]["ended"] for event in calls}
    assert "started without trace=" in sentence(tmp_path / "off.json")
    assert "and still going" in (tmp_path / "on.html").read_text(encoding="utf-8")


def test_with_a_journal_what_was_resumed_is_no_call(tmp_path):
    @parallel_map(max_concurrency=2)
    def ask(item):
        return item

    ask.map(range(3), resume=tmp_path / "kept.jsonl", trace=tmp_path / "first.json")
    ask.map(range(5), resume=tmp_path / "kept.jsonl", trace=tmp_path / "second.json")
    assert len(of("call", events(tmp_path / "first.json"))) == 3
    assert sorted(event["args"]["index"] for event in of("call", events(tmp_path / "second.json"))) == [3, 4]


# What held it up: five runs with one reason each

RANDOM = random.Random(1)


def run_for(reason, path):
    """A run that this reason holds up."""
    RANDOM.seed(1)
    began = clock.now()
    refused = set()

    def short(item):
        sleep(RANDOM.uniform(0.3, 0.8))
        return item

    def told_to_wait(item):
        if item % 30 == 29 and item not in refused:
            refused.add(item)
            raise SimulatedAPIError("slow down", 429, {"retry-after": "6"}, {})
        return short(item)

    def one_is_slow(item):
        return sleep(30.0) if item == 57 else short(item)

    def down(item):
        short(item)
        if 5 < clock.now() - began < 40:
            raise SimulatedAPIError("down", 503, {}, {})

    runs = {
        "slots": (short, 60, {"max_concurrency": 4}),
        "rate": (short, 60, {"max_concurrency": 8, "rpm": 120}),
        "gate": (told_to_wait, 100, {"max_concurrency": 8}),
        "tail": (one_is_slow, 60, {"max_concurrency": 8}),
        "outage": (down, 120, {"max_concurrency": 8, "retry": Retry(attempts=4)}),
    }
    function, many, options = runs[reason]
    parallel_map(**options)(function).map(range(many), trace=path)


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("slots", "Too few slots"),
        ("rate", "The rate held the run up"),
        ("gate", "The server asked to wait"),
        ("tail", "One slow item at the end: item 57 took 30.0 s"),
        ("outage", "The server was down"),
    ],
)
def test_the_sentence_names_the_one_reason_that_there_was(reason, said, tmp_path):
    with VirtualTime():
        run_for(reason, tmp_path / "run.json")
        run_for(reason, tmp_path / "run.html")
    assert sentence(tmp_path / "run.json").startswith(said)
    assert f'<p id="why">{said}' in (tmp_path / "run.html").read_text(encoding="utf-8")
    found = events(tmp_path / "run.json")
    assert len({event["tid"] for event in of("call", found)}) == max(
        event["args"]["calls"] for event in found if event["name"] == "calls under way"
    )
    if reason in ("rate", "gate"):
        assert {event["name"] for event in of("wait", found)} >= {reason}
    if reason == "gate":
        assert len(of("refusal", found)) == 3
        assert {event["name"] for event in of("refusal", found)} == {"rate"}


def test_waits_for_a_slot_of_limits_that_others_use_are_slots(tmp_path):
    account = Limits(2)

    @parallel_map(limits=account)
    async def other(item):
        await asyncio.sleep(10.0)

    @parallel_map(limits=account)
    async def ask(item):
        await asyncio.sleep(1.0)

    async def main():
        others = asyncio.ensure_future(other.amap(range(2)))
        await asyncio.sleep(0.5)
        await ask.amap(range(2), trace=tmp_path / "run.json")
        await others

    with VirtualTime() as virtual:
        virtual.run(main())
    waits = of("wait", events(tmp_path / "run.json"))
    assert [(event["name"], event["dur"]) for event in waits] == [("slot", 9_500_000)] * 2
    assert sentence(tmp_path / "run.json").startswith("Too few slots")


def test_what_calls_waited_for_when_a_deadline_came_is_drawn(threads_or_loop, tmp_path):
    async def body(item):
        await pause(1.0)

    with threads_or_loop.virtually(), pytest.raises(DeadlineExceeded):
        asking = threads_or_loop.decorate(body, max_concurrency=2, rpm=2)
        threads_or_loop.run(asking, range(50), trace=tmp_path / "run.json", deadline=20.0)
    assert sentence(tmp_path / "run.json").startswith("The rate held the run up: for 20.0 s")
    assert [event["name"] for event in of("wait", events(tmp_path / "run.json"))] == ["rate", "rate"]


def test_waits_for_the_slot_that_the_caller_lends_are_slots(tmp_path):
    account = Limits(2)

    @parallel_map(limits=account)
    def ask(item):
        sleep(1.0)

    @parallel_map(limits=account)
    def outer(item):
        ask.map(range(4), trace=tmp_path / f"{item}.json")

    with VirtualTime():
        outer.map(range(2))
    waits = [event for item in range(2) for event in of("wait", events(tmp_path / f"{item}.json"))]
    assert {event["name"] for event in waits} == {"slot"}
    assert account.stats.waited_for_slot > 0.0
    assert account.stats.waited_for_rate == account.stats.waited_at_gate == 0.0


def test_a_reader_who_is_slow_after_the_last_call_is_named(tmp_path):
    ask = parallel_map(max_concurrency=8)(lambda item: sleep(0.5))
    with VirtualTime(), ask.imap(range(16), trace=tmp_path / "r.json") as results:
        for _ in results:
            sleep(1.0)
    assert sentence(tmp_path / "r.json").startswith("The reader of the results held the run up: for 15.5 s")


# The path


@pytest.mark.parametrize(
    ("trace", "error", "said"),
    [
        ("run.txt", ValueError, "trace must be a path that ends in .html or .json, got 'run.txt'"),
        ("run\0.html", ValueError, r"trace must be a path that ends in .html or .json, got 'run.x00.html'"),
        (7, TypeError, "trace must be the path of a .html or .json file or None, got int"),
        (b"run.html", TypeError, "trace must be the path of a .html or .json file or None, got bytes"),
        (
            "nowhere/run.html",
            FileNotFoundError,
            "trace cannot be written: its folder does not exist: .nowhere.run.html",
        ),
        ("~/run.html", FileNotFoundError, r"its folder does not exist: write os\.path\.expanduser\(path\)"),
    ],
)
def test_a_path_that_is_none_is_an_error_before_the_first_call(trace, error, said, way, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    called = []

    async def body(item):
        called.append(item)

    with pytest.raises(error, match=said):
        way.run(way.decorate(body), range(3), trace=trace)
    assert not called


def test_a_file_that_is_there_stays_until_the_run_is_over(tmp_path):
    path = tmp_path / "run.html"
    path.write_text("before")
    seen = []
    parallel_map()(lambda item: seen.append(path.read_text())).map(range(2), trace=path)
    assert seen == ["before", "before"]
    assert "fanmap" in path.read_text(encoding="utf-8")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no disk that is always full")
def test_a_disk_that_is_full_at_the_end_is_a_warning(tmp_path):
    path = tmp_path / "run.html"
    path.symlink_to("/dev/full")
    with pytest.warns(UserWarning, match=r"run.html' could not be written: No space left on device"):
        assert parallel_map()(lambda item: item).map(range(3), trace=path) == [0, 1, 2]


def test_a_run_that_changes_the_directory_is_drawn_where_it_began(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    parallel_map()(lambda item: os.chdir(tmp_path / "other")).map([1], trace="run.html")
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == ["run.html"]


def test_a_link_stays_one_a_file_keeps_its_mode_and_nothing_is_left_beside_it(tmp_path):
    real, link = tmp_path / "real.html", tmp_path / "run.html"
    real.write_text("before")
    real.chmod(0o640)
    link.symlink_to(real)
    parallel_map()(lambda item: item).map([1], trace=link)
    assert link.is_symlink()
    assert "fanmap" in real.read_text(encoding="utf-8")
    assert real.stat().st_mode & 0o777 == 0o640
    assert sorted(one.name for one in tmp_path.iterdir()) == ["real.html", "run.html"]


def test_two_runs_that_draw_to_one_path_leave_one_whole_drawing(tmp_path):
    path = tmp_path / "run.json"
    inner = parallel_map(max_concurrency=8)(lambda item: item)
    outer = parallel_map(max_concurrency=8)(lambda item: inner.map(range(200 * (item + 1)), trace=path))
    outer.map(range(8))
    assert len(of("call", events(path))) in range(200, 1_601, 200)
    assert [one.name for one in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_that_nobody_reads_holds_up_no_run_and_one_that_is_read_is_written(tmp_path):
    path = tmp_path / "run.json"
    os.mkfifo(path)
    with pytest.warns(UserWarning, match=r"run.json' could not be written: No such device or address"):
        assert parallel_map()(lambda item: item).map(range(3), trace=path) == [0, 1, 2]
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        parallel_map()(lambda item: item).map(range(3), trace=path)
        assert len(of("call", json.loads(os.read(reader, 1_000_000))["traceEvents"])) == 3
    finally:
        os.close(reader)


def test_a_name_with_half_of_a_surrogate_pair_is_escaped(tmp_path):
    def ask(item):
        return item

    ask.__name__ = "ask\ud800"
    for name in ("run.html", "run.json"):
        parallel_map()(ask).map([1], trace=tmp_path / name)
        assert "ask\\ud800" in (tmp_path / name).read_text(encoding="utf-8")


def test_ctrl_c_while_it_is_drawn_loses_no_answer(whole_way, tmp_path, monkeypatch):
    def interrupted(story):
        raise KeyboardInterrupt

    monkeypatch.setattr("fanmap._trace.target.page", interrupted)

    async def body(item):
        return item

    with pytest.raises(KeyboardInterrupt) as raised:
        whole_way.run(whole_way.decorate(body), range(3), trace=tmp_path / "run.html")
    assert partial_results(raised.value) == {0: 0, 1: 1, 2: 2}


def test_the_wall_clock_may_jump_while_it_runs(tmp_path, monkeypatch):
    wall = [1_000_000.0]
    monkeypatch.setattr(clock, "wall", lambda: wall[0])
    parallel_map()(lambda item: wall.__setitem__(0, 5.0)).map([1], trace=tmp_path / "run.json")
    assert json.loads((tmp_path / "run.json").read_text())["otherData"]["began"] == 1_000_000.0


def test_ctrl_c_leaves_a_drawing(tmp_path):
    path = tmp_path / "run.json"

    @parallel_map(max_concurrency=1)
    def ask(item):
        if item == 3:
            raise KeyboardInterrupt
        return item

    with pytest.raises(KeyboardInterrupt):
        ask.map(range(10), trace=path)
    assert {event["args"]["index"] for event in of("call", events(path))} >= {0, 1, 2}


# What it costs, and what it says


def test_a_call_that_waited_is_noted_in_60_bytes_and_one_that_did_not_in_24(monkeypatch, tmp_path):
    runs = []
    begin = TracedRun.__init__

    def noted(self, *args, **options):
        begin(self, *args, **options)
        runs.append(self)

    monkeypatch.setattr(TracedRun, "__init__", noted)
    with VirtualTime():
        parallel_map(max_concurrency=8)(lambda item: sleep(1.0)).map(range(200), trace=tmp_path / "run.json")
        parallel_map(max_concurrency=8, rpm=60)(lambda item: sleep(1.0)).map(range(200), trace=tmp_path / "run.json")

    def noted_bytes(log):
        return sum(len(getattr(log, name)) for name in type(log).__slots__)

    assert noted_bytes(runs[0].log) == 200 * 24
    assert noted_bytes(runs[1].log) <= 200 * 60


def test_from_a_zip_archive(tmp_path):
    """As in a zipapp."""
    package = Path(fanmap.__file__).parent
    with zipfile.ZipFile(tmp_path / "app.pyz", "w") as archive:
        for file in package.rglob("*"):
            if "__pycache__" not in file.parts:
                archive.write(file, Path("fanmap", file.relative_to(package)))
        archive.writestr(
            "__main__.py",
            "import fanmap\nfanmap.parallel_map(abs).map([-1], trace='run.html')\nprint(fanmap.__file__)\n",
        )
    command = [sys.executable, "-W", "error", "app.pyz"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout.count("app.pyz"), done.stderr) == (1, "")
    assert "<html" in (tmp_path / "run.html").read_text(encoding="utf-8")


def test_nothing_of_it_is_imported_by_a_run_without(tmp_path):
    code = """
import sys
from fanmap import parallel_map
ask = parallel_map()(lambda item: item)
ask.map(range(3)); list(ask.imap(range(3)))
print([name for name in sys.modules if name.startswith('fanmap') and 'trac' in name])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout.strip() == "[]"


def test_no_prompt_reply_key_or_text_of_an_exception_is_in_it(tmp_path):
    secret = "sk-the-prompt-and-the-key"

    def ask(prompt):
        sleep(0.5)
        if prompt.endswith("7"):
            raise ValueError(prompt)
        if prompt.endswith("3") and prompt not in told:
            told.add(prompt)
            raise SimulatedAPIError(prompt, 429, {"retry-after": "1", "secret": secret}, {"message": prompt})
        return prompt

    for name in ("run.html", "run.json"):
        told = set()
        with VirtualTime():
            parallel_map()(ask).map(
                [f"{secret}{item}" for item in range(20)], return_exceptions=True, trace=tmp_path / name
            )
        assert secret not in (tmp_path / name).read_text(encoding="utf-8")


def test_a_page_needs_no_other_file_and_no_network(tmp_path):
    with VirtualTime():
        run_for("gate", tmp_path / "run.html")
    text = (tmp_path / "run.html").read_text(encoding="utf-8")
    assert "http://" not in text
    assert "https://" not in text
    assert "src=" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text
    assert "<!--" not in text.replace("<!doctype", "")


def test_a_name_that_is_html_is_text(tmp_path):
    def ask(item):
        return item

    ask.__name__ = "</script><b>"
    parallel_map()(ask).map(range(2), trace=tmp_path / "run.html")
    assert "</script><b>" not in (tmp_path / "run.html").read_text(encoding="utf-8")


@pytest.mark.whole
def test_100_000_calls_are_less_than_5_megabytes(tmp_path):
    """In the worst case: each of them waited, for two reasons."""
    from fanmap._policy.trace.log import Fate
    from fanmap._policy.trace.story import Span, Story, Totals
    from fanmap._trace.page import page

    rng = random.Random(1)
    spans = []
    for index in range(100_000):
        began = index * 0.01
        slot, rate = rng.random(), rng.random()
        spans.append(Span(began - slot - rate, began, began + 1.0, index, Fate.RETURNED, slot, 0.0, rate, 0.0))
    totals = Totals(100_000, 100_000, 100_000, 100_000, 0, 0, over=True)
    text = page(Story("ask", 0.0, 1001.0, spans, (), [(0.0, 300)], 300, (), totals))
    assert len(text.encode()) < 5_000_000


def test_warnings_that_are_errors_do_not_end_a_run(tmp_path):
    path = tmp_path / "run.html"
    if not os.path.exists("/dev/full"):
        pytest.skip("no disk that is always full")
    path.symlink_to("/dev/full")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parallel_map()(lambda item: item).map(range(3), trace=path) == [0, 1, 2]
