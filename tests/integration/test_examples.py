"""The examples: each runs without a key, and does what its docstring says against a real server.

The loopback server's log is the witness: what arrived, when, and how many at once.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

import fanmap
from fanmap.testing import Reply, VirtualTime, serve
from fanmap.testing._listener import Connection

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("[!_]*.py"))
NEEDS = {
    "local_model_httpx": ["httpx"],
    "local_model_requests": ["requests"],
    "newcomers_hour": ["openai"],
    "random_numbers_openai": ["openai"],
    "subflow_per_file_pocketflow": ["pocketflow", "openai"],
    "summaries_pocketflow": ["pocketflow", "openai"],
    "translate_readme_pocketflow": ["pocketflow", "aiofiles", "anthropic"],
}
CALLS = {
    "local_model_httpx": 5,
    "local_model_requests": 5,
    "random_numbers_openai": 7,
    "subflow_per_file_pocketflow": 2 * len(NAMES),
    "summaries_pocketflow": 24,
    "translate_readme_pocketflow": 8,
}
WITH_ENDPOINT = [name for name in NAMES if name not in ("breakfast", "newcomers_hour")]
SETTINGS = {"FANMAP_BASE_URL", "FANMAP_MODEL", "FANMAP_API_KEY_ENV"}
TIMES = re.compile(r"^([\d.]+) s for (\d+) calls of ([\d.]+) s in all: [\d.]+ times$", re.M)


def skip_without_its_packages(name):
    for package in NEEDS.get(name, ()):
        pytest.importorskip(package)


@pytest.fixture(autouse=True)
def _somewhere_to_write(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def load(monkeypatch):
    """Import an example afresh, as if started with these arguments."""
    monkeypatch.syspath_prepend(EXAMPLES)

    def load(name, server=None, *arguments):
        skip_without_its_packages(name)
        if server is not None:
            url = server.anthropic_url if name.startswith("translate") else server.openai_url
            arguments = ("--base-url", url, "--model", "small", *arguments)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        monkeypatch.delitem(sys.modules, "_endpoint", raising=False)
        spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def run(module):
    made = module.main()
    if inspect.iscoroutine(made):
        asyncio.run(made)


def statuses(server):
    return [record.status for record in server.log]


def lines_of(text, start):
    return [line for line in text.splitlines() if line.startswith(start)]


# All of them


@pytest.fixture(scope="module")
def without_a_key(tmp_path_factory):
    """What each example prints as a process of its own without a key; two at a time."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in SETTINGS and not name.endswith(("_API_KEY", "_BASE_URL"))
    }
    environment["PYTHONPATH"] = str(Path(fanmap.__file__).parents[1])  # the one that is tested here
    folder = tmp_path_factory.mktemp("without_a_key")

    def start(name):
        command = [sys.executable, "-W", "error", EXAMPLES / f"{name}.py", "--scale", "0.02"]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=folder, env=environment, timeout=600, check=False
        )

    with ThreadPoolExecutor(2) as pool:
        runnable = [name for name in NAMES if all(importlib.util.find_spec(p) for p in NEEDS.get(name, ()))]
        return dict(zip(runnable, pool.map(start, runnable), strict=True))


@pytest.mark.whole
@pytest.mark.parametrize("name", NAMES)
def test_runs_without_a_key_and_without_a_warning(name, without_a_key):
    skip_without_its_packages(name)
    done = without_a_key[name]
    assert (done.returncode, done.stderr) == (0, "")
    assert TIMES.search(done.stdout) or name == "newcomers_hour"


@pytest.mark.parametrize("name", WITH_ENDPOINT)
def test_sends_model_and_key_to_the_endpoint_it_is_given_and_prints_no_key(name, load, monkeypatch, capsys):
    seen = set()

    def respond(request):
        headers = request.headers
        key = headers.get("x-api-key") or headers.get("authorization", "")
        seen.add((request.body["model"], key.removeprefix("Bearer ")))

    monkeypatch.setenv("KEY_OF_A_TEST", "key-of-a-test")
    with serve(latency=0.001, respond=respond) as server:
        run(load(name, server, "--api-key-env", "KEY_OF_A_TEST"))
        assert set(statuses(server)) == {200}
    assert seen == {("small", "key-of-a-test")}
    assert "key-of-a-test" not in capsys.readouterr().out


def test_environment_variables_name_the_endpoint_as_well(load, monkeypatch):
    with serve(latency=0.001) as server:
        monkeypatch.setenv("FANMAP_BASE_URL", server.openai_url)
        monkeypatch.setenv("FANMAP_MODEL", "small")
        run(load("local_model_requests"))
        assert server.sent == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--base-url", "http://127.0.0.1:9"], "--model must be given with a real endpoint"),
        (["--model", "m", "--api-key-env", "NO_SUCH"], "must name a variable that is set, got 'NO_SUCH'"),
    ],
)
def test_half_an_endpoint_is_refused_before_anything_is_sent(arguments, message, load, capsys):
    with pytest.raises(SystemExit):
        load("local_model_requests", None, *arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", WITH_ENDPOINT)
@pytest.mark.whole
def test_a_server_that_allows_two_at_once_and_refuses_the_rest_loses_none(name, load, holding):
    with serve(latency=0.01, sigma=0, max_concurrency=2, retry_after=0.02) as server:
        holding.together(server, 3)
        module = load(name, server)
        if hasattr(module, "after"):  # the way before fanmap does lose some
            module.main = module.after
        run(module)
        assert server.refused > 0
        assert statuses(server).count(200) == CALLS[name]
        assert set(statuses(server)) == {200, 429}


def test_the_index_names_every_example():
    index = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert sorted(set(re.findall(r"\]\((\w+)\.py\)", index)) - {"_endpoint"}) == NAMES


# The command


@pytest.mark.whole
def test_the_newcomers_hour_ends_with_every_row_answered_and_is_in_the_docs(without_a_key):
    skip_without_its_packages("newcomers_hour")
    out = without_a_key["newcomers_hour"].stdout
    assert out.count("answers.csv: 40 rows in order, each with the answer to its own question") == 2
    assert "The server's log: 40 questions answered, " in out
    page = EXAMPLES.parent / "docs" / "how-to" / "run-over-a-file.md"
    if page.exists():  # another run, with other numbers
        shown = page.read_text(encoding="utf-8")
        for line in out.splitlines():
            assert not line.startswith(("$", "# ")) or line in shown


# PocketFlow


def test_the_readme_is_saved_in_every_language_and_never_more_than_eight_at_once(load, tmp_path, capsys, holding):
    with serve(latency=0.002) as server:
        holding.together(server, 8)
        module = load("translate_readme_pocketflow", server)
        module.LANGUAGES = [f"Language{c}" for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
        run(module)
        assert (server.sent, server.max_in_flight) == (26, 8)
    text = module.README.read_text(encoding="utf-8").strip()
    for language in module.LANGUAGES:
        saved = (tmp_path / "translations" / f"README_{language.upper()}.md").read_text(encoding="utf-8")
        assert saved == f"[simulated {language} translation]\n{text}"
    assert re.findall(r"README_(\w+)\.md", capsys.readouterr().out) == [x.upper() for x in module.LANGUAGES]


@pytest.mark.whole
def test_the_decorator_is_what_bounds_the_node(load, holding):
    with serve(latency=0.002) as server:
        holding.together(server, 9)
        module = load("translate_readme_pocketflow", server)
        module.LANGUAGES = [f"Language{c}" for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
        module.TranslateReadme.exec_async = module.TranslateReadme.exec_async.__wrapped__
        run(module)
        assert server.max_in_flight > 8


def test_what_the_node_itself_repeats_stays_within_the_bound(load, holding):
    with serve(latency=0.002, sigma=0) as server:
        holding.together(server, 8)
        module = load("translate_readme_pocketflow", server)
        server.script([Reply(500)] * 8)
        shared = {"text": "text", "languages": [f"Language{c}" for c in "ABCDEFGHIJKLMNOP"], "folder": "."}

        async def translate():
            async with module.client:
                await module.TranslateReadme(max_retries=2).run_async(shared)

        asyncio.run(translate())
        assert (statuses(server).count(500), statuses(server).count(200)) == (8, 16)
        assert server.max_in_flight == 8


def test_after_a_refusal_that_names_a_wait_the_node_starts_nothing_within_it(load, holding):
    def respond(request):
        asked.append(request)
        if len(asked) == 3:
            return Reply(429, retry_after=1.2)
        # The others are answered once the refusal has been heard, so that it is not heard after them.
        return Reply(delay=holding.until(lambda: module.TranslateReadme.exec_async.stats.refused))

    asked = []
    with serve(respond=respond) as server:
        holding.together(server, 8)
        module = load("translate_readme_pocketflow", server)
        module.LANGUAGES = [f"Language{c}" for c in "ABCDEFGHIJ"]
        run(module)
        log = server.log
    [refusal] = [record for record in log if record.status == 429]
    after = [record for record in log if record.arrived > refusal.ended]
    assert (len(log), len(after)) == (11, 3)  # the seven others were on their way already
    assert min(record.arrived for record in after) >= refusal.ended + 1.2


@pytest.mark.whole
def test_summaries_are_joined_in_the_order_of_their_texts(load, capsys, holding):
    with serve(latency=0.01) as server:
        holding.together(server, 8)
        module = load("summaries_pocketflow", server)
        run(module)
        assert server.max_in_flight == 8
        assert [r.index for r in server.log] != sorted(r.index for r in server.log)  # came in another order
    expected = [f"[simulated] Summarize in one sentence: {module.introduction(name)}"[:212] for name in module.MODULES]
    assert lines_of(capsys.readouterr().out, "[simulated]") == expected


def test_sub_flows_keep_to_one_budget_over_both_nodes(load, capsys, holding):
    def respond(request):
        title = request.prompt.startswith("A title")
        titles.append(title)
        slow = "Breakfast: coffee" in request.prompt and not title  # until a title has been asked for
        return Reply(text=request.prompt[:40], delay=holding.until(lambda: any(titles)) if slow else 0.002)

    titles = []
    with serve(respond=respond) as server:
        holding.together(server, 4)
        module = load("subflow_per_file_pocketflow", server)
        run(module)
        titles = [record for record in server.log if record.prompt.startswith("A title")]
        described = [record for record in server.log if record not in titles]
        assert server.max_in_flight == 4
        assert len(titles) == len(described) == len(NAMES)
        # Some titles were asked for while other files were still being described: one budget, not two phases.
        assert min(record.arrived for record in titles) < max(record.ended for record in described)
    out = capsys.readouterr().out
    assert re.findall(r"^(\w+)\.py: A title", out, re.M) == NAMES


def test_each_sub_flow_gives_its_own_file_the_title_made_from_it(load, monkeypatch, tmp_path, capsys):
    names = [f"file{i:02}.py" for i in range(20)]
    for name in names:
        (tmp_path / name).write_text(f"about {name}")

    def respond(request):
        about = re.search(r"about file\d\d\.py", request.prompt)[0]
        return Reply(text=about, delay=0.001)

    with serve(respond=respond) as server:
        module = load("subflow_per_file_pocketflow", server)
        monkeypatch.setattr(module, "FOLDER", tmp_path)
        run(module)
    assert capsys.readouterr().out.splitlines()[1:] == [f"{name}: about {name}" for name in names]


# Clients


@pytest.mark.parametrize("name", ["local_model_httpx", "local_model_requests"])
@pytest.mark.whole
def test_after_is_in_the_order_of_the_prompts_and_bounded_and_before_is_not(name, load, holding):
    def result(made):
        return asyncio.run(made) if inspect.iscoroutine(made) else made

    with serve(latency=0.002) as server:
        module = load(name, server)
        module.PROMPTS = [f"prompt {i}" for i in range(24)]
        holding.together(server, 9)
        result(module.before())
        assert server.max_in_flight > 8
        server.reset()
        holding.together(server, 8)
        answers = result(module.after())
        assert server.max_in_flight == 8
    expected = [f"[simulated] {prompt}" for prompt in module.PROMPTS]
    assert [a[1] if isinstance(a, tuple) else a for a in answers] == expected


def test_with_one_thread_a_prompt_a_refused_prompt_was_lost(load, capsys, holding):
    with serve(latency=0.01, sigma=0, max_concurrency=2, retry_after=0.05) as server:
        holding.together(server, 3)
        module = load("local_model_requests", server)
        assert None in dict(module.before()).values()
        assert None not in dict(module.after()).values()
    assert "429" in capsys.readouterr().out


def test_with_httpx_before_one_refusal_failed_them_all(load, holding):
    import httpx

    with serve(latency=0.01, sigma=0, max_concurrency=2) as server:
        holding.together(server, 3)
        module = load("local_model_httpx", server)
        with pytest.raises(httpx.HTTPStatusError):
            asyncio.run(module.before())


def test_after_an_error_is_raised_and_not_turned_into_none(load):
    import requests

    with serve(latency=0.001) as server:
        module = load("local_model_requests", server)
        server.script([Reply(400)])
        with pytest.raises(requests.HTTPError, match="400"):
            module.after()


def test_one_client_keeps_its_connections(load, monkeypatch):
    opened = []
    made = Connection.connection_made
    monkeypatch.setattr(
        Connection, "connection_made", lambda self, transport: opened.append(1) or made(self, transport)
    )
    with serve(latency=0.005) as server:
        module = load("local_model_httpx", server)
        module.PROMPTS = [f"prompt {i}" for i in range(24)]
        asyncio.run(module.after())
    assert len(opened) <= 8, len(opened)


@pytest.mark.whole
def test_numbers_are_explained_in_the_order_drawn_however_many(load, monkeypatch, capsys, holding):
    with serve(latency=0.002) as server:
        holding.together(server, 7)
        module = load("random_numbers_openai", server)
        module.DRAWS = 40
        drawn = iter(range(40))
        monkeypatch.setattr(module.random, "randint", lambda *_: next(drawn))
        run(module)
        assert server.max_in_flight == 7
    out = capsys.readouterr().out.splitlines()[1:]
    assert out == [f"{n}: [simulated] What is special about the number {n}?" for n in range(40)]


# Breakfast


def breakfast_seconds(load, monkeypatch, capsys, cooks):
    with VirtualTime() as virtual:
        module = load("breakfast", None, "--cooks", str(cooks))
        monkeypatch.setattr(sys.modules["_endpoint"], "time", SimpleNamespace(perf_counter=virtual.now))
        virtual.run(module.main())
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "coffee and toast"
    [(whole, calls, summed)] = TIMES.findall(out)
    assert (calls, summed) == ("2", "5.00")
    return whole


def test_breakfast_takes_as_long_as_the_coffee(load, monkeypatch, capsys):
    assert breakfast_seconds(load, monkeypatch, capsys, cooks=2) == "3.00"


def test_one_cook_makes_one_thing_at_a_time(load, monkeypatch, capsys):
    assert breakfast_seconds(load, monkeypatch, capsys, cooks=1) == "5.00"
