"""`fanmap demo`, run as its users run it: mostly in a process of its own, whose output is piped."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fanmap
from fanmap.__main__ import main
from fanmap._demo.files import LANGUAGES
from fanmap._demo.readme import find_readme
from fanmap._demo.table import Row, measured, packed, table
from fanmap._failure import CommandError
from fanmap.testing import Reply, Server, serve

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(fanmap.__file__).parents[1]), "PYTHONUNBUFFERED": "1"}
REAL = ("--model", "small", "--base-url")


def run(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "fanmap", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=600, cwd=cwd, env={**ENVIRONMENT, **environment}
    )


def is_one_line(text: str) -> bool:
    return text.startswith("fanmap: ") and text.count("\n") == 1 and text.endswith("\n")


def rows_of(printed: str) -> dict[str, list[str]]:
    """The table's rows by their number: seconds, speed-up, ideal, requests, refused, lost."""
    rows = re.findall(r"^(\d[ab]?) .{26}((?: +[\d.x-]+){6})$", printed, flags=re.MULTILINE)
    return {number: cells.split() for number, cells in rows}


# A server that allows so many at once answers nobody before one more has come: so close together are they sent only
# where nobody else wants the processor.
HELD = """
import asyncio, sys
from fanmap.__main__ import main
from fanmap._demo import endpoint
from fanmap.testing import _listener

serve, hold, servers = endpoint.serve, _listener.Connection.hold, []

def serve_and_note(**settings):
    servers.append((serve(**settings), settings["max_concurrency"] or 0))
    return servers[-1][0]

async def hold_for_one_more(connection, seconds):
    server, allows = servers[-1]
    while allows and server.sent <= allows and not connection.gone.is_set():
        await asyncio.sleep(0.001)
    await hold(connection, seconds)

endpoint.serve, _listener.Connection.hold = serve_and_note, hold_for_one_more
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-W", "error", "-c", HELD, "demo", "--scale", "0.02", "--trace"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=folder, env=ENVIRONMENT)
    return done, folder


# Against the simulated server


@pytest.mark.whole
def test_the_demo_ends_well_and_piped_it_draws_no_bars(simulated):
    done, _ = simulated
    assert (done.returncode, done.stderr) == (0, "")
    assert "\r" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.whole
def test_it_draws_the_last_run_of_ours_where_that_is_asked_for(simulated):
    done, folder = simulated
    assert "The run of 5b is drawn in run.html." in done.stdout
    page = (folder / "run.html").read_text(encoding="utf-8")
    assert "fanmap: a run of translate" in page
    assert "8 of 8" in page


@pytest.mark.whole
def test_a_trace_that_cannot_be_written_is_one_line(tmp_path):
    done = run("demo", "--trace", "nowhere/run.html", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "fanmap: --trace cannot be written: its folder does not exist: nowhere/run.html\n"


@pytest.mark.whole
def test_it_says_first_that_the_server_is_simulated(simulated):
    intro = simulated[0].stdout.partition("\n\n")[0]
    assert "simulated server on this machine: no key, no cost" in intro
    assert "max_retries=0" in intro


@pytest.mark.whole
def test_it_shows_the_line_of_each_way(simulated):
    for line in (
        "[translate(language) for language in languages]",
        "translate.map(languages",
        "await translate.amap(languages",
        "await gather_bounded(*map(translate, languages)",
        "await asyncio.gather(*map(translate, languages)",
    ):
        assert line in simulated[0].stdout


@pytest.mark.whole
def test_it_shows_each_language_while_they_are_translated_one_after_the_other(simulated):
    assert f"\n   {' '.join(LANGUAGES)}\n" in simulated[0].stdout


@pytest.mark.whole
def test_it_ends_with_what_to_do_next(simulated):
    end = simulated[0].stdout.rpartition("\nNext: ")[2]
    assert "@parallel_map(max_concurrency=8)" in end
    assert "fanmap run job:ask in.csv -o out.csv" in end
    assert "fanmap demo --base-url http" in end


@pytest.mark.whole
def test_the_table_has_all_ways_and_nothing_is_lost_but_by_bare_gather(simulated):
    rows = rows_of(simulated[0].stdout)
    assert list(rows) == ["1", "2", "3", "4", "5a", "5b"]
    assert [cells[3:] for cells in list(rows.values())[:4]] == [["8", "0", "0"]] * 4
    assert rows["1"][1] == "1.0x"
    sent, refused, lost = map(int, rows["5a"][3:])
    assert rows["5a"][1:3] == ["-", "-"]
    assert (sent, refused) == (8, lost)
    assert 0 < lost <= 4  # on a machine that sends all of them at once, 4
    sent, refused, lost = map(int, rows["5b"][3:])
    assert (sent - refused, lost) == (8, 0)


@pytest.mark.whole
def test_it_writes_a_file_for_each_language_marked_as_simulated(simulated):
    done, folder = simulated
    files = {file.name: file.read_text(encoding="utf-8") for file in (folder / "translations").iterdir()}
    assert set(files) == {f"README_{language.upper()}.md" for language in LANGUAGES}
    for language in LANGUAGES:
        first, _, rest = files[f"README_{language.upper()}.md"].partition("\n")
        assert "SIMULATED" in first
        assert f"[simulated {language} translation]\n# fanmap\n" in rest
    assert "8 translations are in translations/" in done.stdout


def test_files_of_others_are_not_overwritten(tmp_path):
    (tmp_path / "README_FRENCH.md").write_text("Bonjour", encoding="utf-8")
    done = run("demo", "--output", ".", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert is_one_line(done.stderr)
    assert "README_FRENCH.md is not a simulated translation, so it is not overwritten" in done.stderr
    assert (tmp_path / "README_FRENCH.md").read_text(encoding="utf-8") == "Bonjour"


@pytest.mark.whole
def test_an_output_that_cannot_be_a_folder_is_one_line(tmp_path):
    (tmp_path / "taken").write_text("", encoding="utf-8")
    done = run("demo", "--output", "taken", cwd=tmp_path)
    assert done.returncode == 2
    assert is_one_line(done.stderr)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process there")
@pytest.mark.whole
def test_control_c_is_one_line_and_130(tmp_path):
    command = [sys.executable, "-m", "fanmap", "demo", "--scale", "5"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=ENVIRONMENT
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("1 "):
                break
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=600)
    assert (process.returncode, said) == (130, "fanmap: interrupted\n")


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to die by there")
@pytest.mark.whole
def test_control_c_within_an_exec_of_text_is_130_as_well(tmp_path):
    """Modules that are being imported make their classes that way. CPython's flag for it outlives the exception."""
    program = tmp_path / "program.py"
    program.write_text("""
import sys
from fanmap import __main__

def interrupted(options):
    exec("raise KeyboardInterrupt")

__main__._COMMANDS["demo"] = interrupted
sys.exit(__main__.main(["demo"]))
""")
    done = subprocess.run(
        [sys.executable, "-m", "program"], stderr=subprocess.PIPE, text=True, timeout=600, cwd=tmp_path, env=ENVIRONMENT
    )
    assert (done.returncode, done.stderr) == (130, "fanmap: interrupted\n")


def test_what_is_not_installed_is_one_line(tmp_path):
    code = """
import sys
sys.modules["tqdm"] = sys.modules["starlette"] = None
from fanmap.__main__ import main
sys.exit(main(["demo"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, cwd=tmp_path, env=ENVIRONMENT
    )
    assert done.returncode == 2
    assert done.stderr == 'fanmap: the demo needs tqdm, starlette: pip install "fanmap[demo]"\n'


# Against an endpoint of the user's


@pytest.fixture
def server() -> Iterator[Server]:
    with serve(latency=0.01) as running:
        yield running


@pytest.mark.whole
def test_a_real_endpoint_goes_the_ways_that_make_sense_there(server, tmp_path):
    done = run("demo", *REAL, server.openai_url, "--output", "out", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(rows_of(done.stdout)) == ["1", "2", "3"]
    assert done.stdout.count("skipped, needs the simulated server") == 3
    assert (server.sent, server.refused) == (24, 0)
    french = (tmp_path / "out" / "README_FRENCH.md").read_text(encoding="utf-8")
    assert french.startswith("<!-- fanmap demo: translated by a model -->\n")

    again = run("demo", "--output", "out", cwd=tmp_path)
    assert again.returncode == 2
    assert "is not a simulated translation" in again.stderr  # simulated over real


# The next ones in this process: a second of imports each is saved, and a leak would be a warning.


def test_the_key_is_sent_only_where_its_variable_is_named(monkeypatch, capsys, tmp_path):
    seen: list[str] = []

    def look(request):
        seen.append(request.headers["authorization"])
        return Reply(401)

    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another")
    monkeypatch.setenv("MINE", "sk-mine")
    monkeypatch.chdir(tmp_path)
    with serve(respond=look) as server:
        for words in ([], ["--api-key-env", "MINE"]):
            assert main(["demo", *REAL, server.openai_url, *words]) == 1
            printed = capsys.readouterr()
            assert is_one_line(printed.err)
            assert "refused the key with 401" in printed.err
            assert "sk-" not in printed.out + printed.err
    assert seen == ["Bearer none", "Bearer sk-mine"]


def test_a_page_that_is_no_endpoint_is_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    with serve(respond=lambda _: Reply(body="<html>It works!</html>")) as server:
        assert main(["demo", *REAL, server.openai_url]) == 1
        page = capsys.readouterr().err
        assert main(["demo", *REAL, f"{server.url}/v2"]) == 1
        nowhere = capsys.readouterr().err
    assert is_one_line(page) and "does not answer like an OpenAI-compatible endpoint" in page
    assert is_one_line(nowhere) and "answered 404: check --model, and the path" in nowhere


@pytest.mark.whole
def test_a_refused_connection_is_one_line(tmp_path):
    with socket.socket() as closed:  # nobody listens there, and nobody else can
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        done = run("demo", *REAL, url, cwd=tmp_path)
    assert done.returncode == 1
    assert is_one_line(done.stderr)
    assert f"{url} cannot be reached (" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(
            ("demo", *REAL, "localhost:11434/v1"),
            "--base-url must be a URL such as http://localhost:11434/v1",
            marks=pytest.mark.whole,
        ),
        pytest.param(
            ("demo", *REAL, "http://user:secret@host:99999/"),
            "--base-url must be a URL such as",
            marks=pytest.mark.whole,
        ),
        pytest.param(
            ("demo", "--base-url", "http://127.0.0.1:1/v1"), "--base-url needs --model", marks=pytest.mark.whole
        ),
        pytest.param(("demo", "--model", "small"), "--model needs --base-url", marks=pytest.mark.whole),
        pytest.param(
            ("demo", *REAL, "http://127.0.0.1:1/v1", "--api-key-env", "UNSET"),
            "variable UNSET is not set",
            marks=pytest.mark.whole,
        ),
        (("demo", *REAL, "http://127.0.0.1:1/v1", "--api-key-env", "EMPTY"), "variable EMPTY is empty"),
        pytest.param(
            ("demo", *REAL, "http://127.0.0.1:1/v1", "--api-key-env", "ODD"),
            "variable ODD contains characters",
            marks=pytest.mark.whole,
        ),
        (("demo", "--scale", "0"), "--scale: must be a number above 0, got '0'"),
        (("demp",), "invalid choice: 'demp'"),
    ],
)
def test_wrong_usage_is_one_line_and_2(words, said, tmp_path):
    done = run(*words, cwd=tmp_path, EMPTY=" ", ODD="sk-one\nsk-two")
    assert (done.returncode, done.stdout) == (2, "")
    assert is_one_line(done.stderr)
    assert said in done.stderr
    assert "secret" not in done.stderr and "sk-" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_a_command_it_prints_help_and_ends_with_2(tmp_path):
    done = run(cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: fanmap" in done.stderr and "demo" in done.stderr


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"fanmap {fanmap.__version__}\n"


# What it counts, and what it reads


def test_ideal_is_the_sum_with_one_slot_and_the_slowest_with_a_slot_for_each():
    durations = [3.0, 1.0, 2.0, 2.0]
    assert packed(durations, 1) == 8.0
    assert packed(durations, 4) == 3.0
    assert packed(durations, 2) == 5.0  # 3 | 1 2, then 2 on the slot that is free first


def test_a_row_counts_refusals_and_promises_no_ideal_where_some_were_lost():
    from fanmap._demo.job import Request  # which imports a client

    seen = [Request(0.0, 2.0, True, False), Request(0.0, 0.0, False, True), Request(1.0, 1.0, True, False)]
    assert measured("way", 3.5, seen, 0, 1) == Row("way", 3.5, 3.0, 3, 1, 0)
    assert measured("way", 3.5, seen, 1, 1).ideal is None


def test_no_speed_up_is_claimed_where_one_after_the_other_lost_some():
    printed = table([Row("1  slow", 8.0, None, 8, 1, 1), Row("2  fast", 1.0, 1.0, 8, 0, 0)])
    assert printed.splitlines()[-1].split() == ["2", "fast", "1.0", "-", "1.0", "8", "0", "0"]


def test_the_readme_comes_from_the_installed_distribution_where_there_is_no_source_tree(monkeypatch, tmp_path):
    import fanmap._demo.readme as module

    monkeypatch.setattr(module, "__file__", str(tmp_path / "a" / "b" / "c" / "readme.py"))
    monkeypatch.setattr("importlib.metadata.metadata", lambda _: {"Description": "# from the wheel"})
    assert find_readme() == "# from the wheel"
    monkeypatch.setattr("importlib.metadata.metadata", lambda _: {})
    with pytest.raises(CommandError, match="the README was not found"):
        find_readme()
