"""`fanmap run --processes`: as without, but that the function is called in several processes under one budget."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import fanmap
from fanmap._run import processes

from .tools import PATIENCE, finish, put, start, until

pytestmark = pytest.mark.skipif(os.name != "posix", reason="descriptors of POSIX")

JOB = """
import asyncio, os, pathlib, time
from fanmap import Limits, parallel_map

account = Limits(3)

def note(sign):
    log = os.open("log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, f"{os.getpid()} {sign}\\n".encode())
    os.close(log)

@parallel_map(limits=account)
def ask(prompt: str) -> str:
    note("+")
    time.sleep(0.02)
    if prompt == "bad":
        raise ValueError("no: bad")
    if prompt == "die" or (prompt == "die once" and not pathlib.Path("died").exists()):
        pathlib.Path("died").touch()
        os.kill(os.getpid(), 9)
    note("-")
    return prompt.upper()

async def later(prompt: str) -> tuple[str, int]:
    await asyncio.sleep(0.01)
    return prompt, os.getpid()

class Spent(Exception):
    status_code = 429
    body = {"error": {"code": "insufficient_quota"}}

def spent(prompt: str) -> str:
    note("+")
    if prompt >= "3":
        raise Spent("sk-secret")
    return prompt

def foreign(prompt):
    return {prompt}

def slow(prompt: str) -> str:
    note("+")
    while not pathlib.Path("go").exists():
        time.sleep(0.005)
    return prompt
"""


@pytest.fixture(autouse=True)
def _job(_here, tmp_path_factory, monkeypatch):
    put("several.py", JOB)  # a name that no other test's module has
    monkeypatch.delitem(sys.modules, "several", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("own")))  # others use the machine's, too


def rows(name="out.jsonl"):
    return [json.loads(line) for line in Path(name).read_text().splitlines()]


def log():
    return [line.split() for line in Path("log").read_text().splitlines()] if Path("log").exists() else []


def folders():
    return set(Path(tempfile.gettempdir()).glob("fanmap-run-*"))


def lines(*texts):
    put("in.txt", "".join(f"{text}\n" for text in texts))


def test_rows_are_in_order_and_all_processes_have_one_budget(run):
    lines(*(f"p{number}" for number in range(40)), "bad")
    before = folders()
    status, _, err = run("several:ask", "in.txt", "-o", "out.jsonl", "--processes", "3")
    assert status == 1, err
    assert [row["answer"] for row in rows()] == [*(f"P{number}" for number in range(40)), None]
    assert rows()[-1]["error"] == "ValueError: no: bad"
    held = most = 0
    for _, sign in log():
        held += 1 if sign == "+" else -1
        most = max(most, held)
    assert most <= 4  # three, and the one that raised is not noted again
    assert len({pid for pid, _ in log()}) >= 2
    assert str(os.getpid()) not in {pid for pid, _ in log()}
    assert "40 answered, 0 resumed, 1 failed (1 ValueError)" in err
    assert "41 attempts, 0 refused" in err
    assert folders() == before


@pytest.mark.whole
def test_answers_are_kept_as_without(run):
    lines("a", "b", "bad")
    run("several:ask", "in.txt", "-o", "out.jsonl", "--processes", "2")
    lines("a", "b", "c")
    status, _, err = run("several:ask", "in.txt", "-o", "out.jsonl")
    assert (status, "3 answered, 2 resumed" in err or "1 answered, 2 resumed" in err) == (0, True)
    assert [row["answer"] for row in rows()] == ["A", "B", "C"]
    kept = [json.loads(line) for line in Path("out.jsonl.journal").read_text().splitlines()]
    assert [line["error"] for line in kept if "error" in line] == ["ValueError"]
    lines("a", "b", "c", "d")
    status, _, err = run("several:ask", "in.txt", "-o", "out.jsonl", "--processes", "2")
    assert (status, "3 resumed" in err) == (0, True)


@pytest.mark.whole
def test_coroutine_functions_limits_of_the_command_and_pipes(run):
    lines(*(str(number) for number in range(30)))
    status, out, _ = run("several:later", "in.txt", "--processes", "2", "--max-concurrency", "4", "--rpm", "60000")
    assert status == 0
    answers = [json.loads(line)["answer"] for line in out.splitlines()]
    assert [answer[0] for answer in answers] == [str(number) for number in range(30)]
    assert len({answer[1] for answer in answers}) == 2


@pytest.mark.whole
def test_a_dead_process_s_rows_are_errors_and_another_one_takes_its_place(run):
    lines("a", "die once", *(f"p{number}" for number in range(20)))
    status, _, err = run("several:ask", "in.txt", "-o", "out.jsonl", "--processes", "1")
    assert status == 1, err
    died = [row for row in rows() if row["error"]]
    assert {row["error"] for row in died} == {"WorkerDied: its worker process died (signal 9)"}
    assert 1 <= len(died) <= 4 and "die once" in [row["input"] for row in died]
    assert "rerun the same command to retry only these" in err
    status, _, err = run("several:ask", "in.txt", "-o", "out.jsonl", "--processes", "1")
    assert status == 0
    assert all(row["answer"] == row["input"].upper() for row in rows())


@pytest.mark.whole
def test_three_deaths_in_a_row_end_it(run):
    lines(*["die"] * 20)
    status, _, err = run("several:ask", "in.txt", "-o", "out.jsonl", "--processes", "1")
    assert status == 1, err
    assert "fanmap: 3 worker processes in a row have died (signal 9)" in err
    assert len(log()) <= 9


def only(monkeypatch, count):
    """The system starts so many processes, and no other."""
    start_one = processes.Worker

    def start_or_not(orders):
        nonlocal count
        count -= 1
        if count < 0:
            raise OSError(errno.EMFILE, "Too many open files")
        return start_one(orders)

    monkeypatch.setattr(processes, "Worker", start_or_not)


@pytest.mark.whole
def test_processes_have_the_fanmap_of_the_command(tmp_path):
    """As one in a zipapp, or that a program has put on its path."""
    put("where.py", "import fanmap\ndef ask(prompt):\n    return fanmap.__file__\n")
    lines("a")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "fanmap").symlink_to(Path(fanmap.__file__).parent)
    code = f"import sys; sys.path.insert(0, {str(elsewhere)!r}); from fanmap.__main__ import main; sys.exit(main())"
    arguments = ["run", "where:ask", "in.txt", "-o", "out.jsonl", "--no-resume", "--processes", "1"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert [row["answer"] for row in rows()] == [str(elsewhere / "fanmap" / "__init__.py")]


@pytest.mark.parametrize(("rows", "started", "wanted"), [(9, 2, 5), (3, 0, 3)])
def test_processes_that_cannot_be_started_are_one_line_and_there_are_no_more_than_rows(
    run, monkeypatch, rows, started, wanted
):
    lines(*(str(number) for number in range(rows)))
    only(monkeypatch, started)
    status, out, err = run("several:ask", "in.txt", "-o", "out.jsonl", "--processes", "5")
    assert (status, out) == (1, "")
    assert err == f"fanmap: {started} of {wanted} worker processes could be started: Too many open files\n"


@pytest.mark.whole
def test_a_dead_process_that_cannot_be_replaced_ends_it(run, monkeypatch):
    lines("die", *(f"p{number}" for number in range(20)))
    only(monkeypatch, 1)
    status, _, err = run("several:ask", "in.txt", "-o", "out.jsonl", "--processes", "1")
    assert status == 1
    died = "fanmap: a worker process has died (signal 9), and no other could be started: Too many open files\n"
    assert died in err


@pytest.mark.whole
def test_a_spent_account_stops_all_of_them_and_says_why(run):
    lines(*(str(number) for number in range(400)))
    status, _, err = run("several:spent", "in.txt", "-o", "out.jsonl", "--processes", "2")
    assert status == 1, err
    assert "stopped by Spent: the account has no credit or quota left: once it has some, rerun" in err.replace(
        "\nfanmap: answers are kept in out.jsonl.journal, out.jsonl is untouched", ""
    )
    assert "sk-secret" not in err
    assert len(log()) < 40


@pytest.mark.whole
def test_an_answer_without_json_is_an_error_of_its_row(run):
    lines("a")
    status, _, err = run("several:foreign", "in.txt", "-o", "out.jsonl", "--processes", "1")
    assert status == 1, err
    assert rows()[0]["error"].startswith("AnswerNotJson: set is not JSON-serializable")
    assert "change what several:foreign returns" in err


def test_an_async_limiter_is_refused(run):
    put(
        "several.py",
        "from aiolimiter import AsyncLimiter\nfrom fanmap import Limits\nl = Limits(rate=AsyncLimiter(1, 1))\n",
    )
    lines("a")
    status, _, err = run("several:ask", "in.txt", "--processes", "2")
    assert status == 2
    assert "belongs to one asyncio loop and cannot be shared: write Rate(1, 1)" in err


def test_a_total_is_of_one_process(run):
    lines("a")
    status, _, err = run("several:ask", "in.txt", "--processes", "2", "--max-spend", "5")
    assert status == 2
    assert err == "fanmap: --max-spend and --processes cannot be combined: a total is kept in one process\n"
    put(
        "spending.py",
        "from fanmap import Limits, parallel_map\n"
        "ask = parallel_map(limits=Limits(max_spend=1.0, price=lambda *_: 0.1))(lambda text: text)\n",
    )
    status, _, err = run("spending:ask", "in.txt", "--processes", "2")
    assert status == 2
    assert err == "fanmap: max_spend= and other totals cannot be combined with --processes\n"


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
@pytest.mark.whole
def test_killed_the_command_takes_its_processes_with_it():
    lines(*(str(number) for number in range(20)))
    process = start("several:slow", "in.txt", "-o", "out.jsonl", "--processes", "2")
    until(lambda: len({pid for pid, _ in log()}) == 2)
    process.kill()
    process.communicate()
    until(lambda: not any(alive(pid) for pid, _ in log()))


@pytest.mark.whole
def test_ctrl_c_lets_calls_under_way_end_and_no_other_begin():
    lines(*(str(number) for number in range(20)))
    process = start("several:slow", "in.txt", "-o", "out.jsonl", "--processes", "2", "--max-concurrency", "4")
    until(lambda: len(log()) == 4)
    process.send_signal(signal.SIGINT)
    until(lambda: process.stderr.readline().startswith("fanmap: stopping, "))  # it has told them
    put("go", "")
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert len(log()) <= 8
    assert "stopped by Ctrl-C" in err
    begun = len(log())
    assert f"{begun} answered, 0 resumed, 0 failed, {20 - begun} not run" in err
    assert len(Path("out.jsonl.journal").read_text().splitlines()) == begun
    done = finish("several:slow", "in.txt", "-o", "out.jsonl", "--processes", "2")
    assert done.returncode == 0
    assert [row["answer"] for row in rows()] == [str(number) for number in range(20)]
