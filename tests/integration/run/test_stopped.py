"""`fanmap run` is stopped: Ctrl-C once and twice, SIGTERM, SIGHUP, kill -9, and the same command again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .tools import ENVIRONMENT, PATIENCE, command, finish, put, start, until

SLOW = """
import pathlib, time

def ask(prompt: str) -> str:
    with open("calls", "a") as calls:
        calls.write(prompt + "\\n")
    while prompt >= "2" and not pathlib.Path("go").exists():
        time.sleep(0.005)
    return prompt

async def later(prompt: str) -> str:
    import asyncio
    with open("calls", "a") as calls:
        calls.write(prompt + "\\n")
    while prompt >= "2" and not pathlib.Path("go").exists():
        await asyncio.sleep(0.005)
    return prompt
"""
WORDS = ("in.txt", "-o", "out.jsonl", "--max-concurrency", "2")
ALL = [str(n) for n in range(8)]
STOPPING = "fanmap: stopping, in-flight calls will finish; Ctrl-C again exits now\n"
KEPT = "fanmap: answers are kept in out.jsonl.journal, out.jsonl is untouched: rerun the same command to resume\n"

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture(autouse=True)
def _job(_here):
    put("job.py", SLOW)
    put("in.txt", "".join(f"{n}\n" for n in range(8)))


def called() -> list[str]:
    path = Path("calls")
    return path.read_text().split() if path.exists() else []


def under_way() -> bool:
    """Are both calls that wait for `go` begun? The one claimed first may be the last to say so."""
    return {"2", "3"} <= set(called())


def go() -> None:
    """Calls under way may end."""
    put("go", "")


def answers(name: str) -> list[str]:
    return [json.loads(line)["answer"] for line in Path(name).read_text().splitlines()]


def stopped(process: subprocess.Popen[str], number: int) -> str:
    """Two calls are under way; stop it, and let them end. What it said."""
    until(under_way)
    process.send_signal(number)
    first = first_word(process)
    go()
    return first + process.communicate(timeout=PATIENCE)[1]


def first_word(process: subprocess.Popen[str]) -> str:
    """What it says first, but for how far it is, which is said every ten seconds."""
    return next(line for line in process.stderr if " done" not in line)


@pytest.mark.parametrize("function", ["ask", pytest.param("later", marks=pytest.mark.whole)])
def test_the_first_ctrl_c_lets_calls_end_and_the_same_command_goes_on(function):
    put("out.jsonl", "before")
    process = start(f"job:{function}", *WORDS)
    said = stopped(process, signal.SIGINT)
    assert process.returncode == 130
    assert said.startswith(f"{STOPPING}fanmap: stopped by Ctrl-C\n{KEPT}4 answered, 0 resumed, 0 failed, 4 not run\n")
    assert (sorted(called()), Path("out.jsonl").read_text()) == (["0", "1", "2", "3"], "before")
    done = finish(f"job:{function}", *WORDS)
    assert (done.returncode, sorted(called()), answers("out.jsonl")) == (0, ALL, ALL)
    assert "4 answered, 4 resumed" in done.stderr


@pytest.mark.parametrize("function", ["ask", "later"])
@pytest.mark.whole
def test_the_second_ctrl_c_leaves_at_once_and_what_was_answered_is_kept(function):
    process = start(f"job:{function}", *WORDS)
    until(under_way)
    process.send_signal(signal.SIGINT)
    assert first_word(process) == STOPPING
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)  # no call ever ends
    assert (process.returncode, said) == (130, "fanmap: exiting now; in-flight calls abandoned\n")
    assert not Path("out.jsonl").exists()
    go()
    assert finish(f"job:{function}", *WORDS).returncode == 0
    assert (answers("out.jsonl"), sorted(called())) == (ALL, sorted([*ALL, "2", "3"]))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["SIGTERM", "SIGHUP"])
@pytest.mark.whole
def test_other_signals_are_as_the_first_ctrl_c(number, status):
    process = start("job:ask", *WORDS)
    said = stopped(process, number)
    assert (process.returncode, sorted(called())) == (status, ["0", "1", "2", "3"])
    assert f"fanmap: stopped by {number.name}\n{KEPT}" in said


@pytest.mark.whole
def test_without_a_journal_what_was_answered_is_in_the_partial_file():
    process = start("job:ask", *WORDS, "--no-resume")
    said = stopped(process, signal.SIGINT)
    assert process.returncode == 130
    assert f"fanmap: the rows so far are in {Path('out.jsonl.partial').resolve()}\n" in said
    assert answers("out.jsonl.partial") == ALL[:4]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks at /proc")
@pytest.mark.whole
def test_ctrl_c_that_comes_when_all_is_done_but_the_last_calls_is_not_in_the_way():
    put("in.txt", "".join(f"{n}\n" for n in range(4)))
    process = start("job:ask", "in.txt", "-o", "out.jsonl")
    until(lambda: sorted(called()) == ALL[:4])
    until(lambda: not has_open(process, "in.txt"))  # only now it knows that there is no other row
    stopped(process, signal.SIGINT)
    assert (process.returncode, answers("out.jsonl")) == (0, ALL[:4])


def has_open(process: subprocess.Popen[str], name: str) -> bool:
    wanted = str(Path(name).resolve())
    found = []
    for fd in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.append(os.readlink(fd))
    return wanted in found


@pytest.mark.parametrize("name", ["INT", "HUP"])
@pytest.mark.whole
def test_a_signal_that_the_shell_ignores_stays_ignored(name):
    line = f"trap '' {name}; exec " + " ".join(command("job:ask", "in.txt", "--limit", "4", "--max-concurrency", "1"))
    process = subprocess.Popen(
        ["sh", "-c", line], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    until(lambda: "2" in called())
    process.send_signal(getattr(signal, f"SIG{name}"))
    go()
    out, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out.count("\n")) == (0, 4)


def test_a_killed_run_leaves_the_output_and_the_same_command_goes_on():
    put("out.jsonl", "before")
    process = start("job:ask", *WORDS)
    until(under_way)
    process.kill()
    process.communicate(timeout=PATIENCE)
    assert Path("out.jsonl").read_text() == "before"
    go()
    done = finish("job:ask", *WORDS)
    assert (done.returncode, answers("out.jsonl")) == (0, ALL)
    assert sorted(called()) == sorted([*ALL, "2", "3"])  # those under way are paid for again, and no other
    assert not Path("out.jsonl.partial").exists()


def test_ctrl_c_is_heard_while_nobody_reads_the_output():
    put("job.py", "def ask(prompt): return prompt * 200_000\n")  # more than a pipe holds
    put("in.txt", "".join(f"{n}\n" for n in range(1000)))  # more than are called for before the first has been written
    process = start("job:ask", "in.txt", "--max-concurrency", "2")
    assert os.read(process.stdout.fileno(), 1) == b"{"
    process.send_signal(signal.SIGINT)
    assert first_word(process) == STOPPING
    out, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, "stopped by Ctrl-C" in said) == (130, True)
    assert [json.loads(line)["error"] for line in ("{" + out).splitlines()] == [None] * out.count("\n")


def test_a_second_run_without_a_journal_is_kept_away_from_the_rows_of_the_first():
    words = ("job:ask", *WORDS, "--no-resume")
    first = start(*words)
    until(under_way)
    partial = os.path.realpath("out.jsonl.partial")
    second = finish(*words)
    assert (second.returncode, second.stderr) == (2, f"fanmap: {partial} is in use by another run\n")
    go()
    first.communicate(timeout=PATIENCE)
    assert (first.returncode, answers("out.jsonl"), sorted(called())) == (0, ALL, ALL)


@pytest.mark.whole
def test_rows_that_somebody_has_taken_away_are_not_replaced_by_those_of_another():
    process = start("job:ask", *WORDS, "--no-resume")
    until(under_way)
    partial = os.path.realpath("out.jsonl.partial")
    os.replace("out.jsonl.partial", "mine.jsonl")
    put("out.jsonl.partial", "of another\n")
    go()
    _, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, Path("out.jsonl").exists(), answers("mine.jsonl")) == (1, False, ALL)
    assert f"fanmap: {partial} was moved or replaced while it was written\n" in said
    assert "rows so far are in" not in said


# In the first moments, while Python imports the command.

INTERRUPTING = """
import os, signal, sys

class Finder:
    def find_spec(name, *_):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder)
"""


@pytest.fixture
def interrupted_at(tmp_path):
    def started(name, *words):
        (tmp_path / "sitecustomize.py").write_text(INTERRUPTING.format(name=name))
        path = f"{tmp_path}{os.pathsep}{ENVIRONMENT['PYTHONPATH']}"
        done = subprocess.run(
            [sys.executable, *words], env={**ENVIRONMENT, "PYTHONPATH": path}, capture_output=True, text=True,
            timeout=PATIENCE,
        )  # fmt: skip
        return done.returncode, done.stderr

    return started


@pytest.mark.parametrize(
    "name",
    [
        "fanmap.types",
        *(pytest.param(f"fanmap.{name}", marks=pytest.mark.whole) for name in ("_gather", "_run.arguments")),
        "fanmap._run.command",
    ],
)
@pytest.mark.parametrize(
    "way", ["-m fanmap", "-mfanmap", pytest.param("-sm fanmap", marks=pytest.mark.whole), "script"]
)
def test_ctrl_c_is_one_line_while_the_command_is_imported(way, name, interrupted_at, tmp_path):
    script = tmp_path / "fanmap"
    script.write_text("import sys\nfrom fanmap.__main__ import main\nsys.exit(main())\n")
    begun = [str(script)] if way == "script" else way.split()
    assert interrupted_at(name, *begun, "run", "job:ask", "in.txt") == (130, "fanmap: interrupted\n")


CHILD = """
import multiprocessing, os, signal, sys

def job():
    import fanmap
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        sys.exit(7)

if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=job)
    child.start()
    child.join()
    print(child.exitcode)
"""


def test_a_process_that_is_started_by_a_job_of_the_command_has_its_own_ctrl_c(tmp_path):
    script = tmp_path / "fanmap"
    script.write_text(CHILD)
    done = subprocess.run(
        [sys.executable, str(script)], env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.stdout, done.stderr) == ("7\n", "")


def test_a_program_that_imports_fanmap_has_its_own_ctrl_c(interrupted_at):
    assert interrupted_at("fanmap._gather", "-c", "try:\n import fanmap\nexcept KeyboardInterrupt:\n exit(7)") == (
        7,
        "",
    )
