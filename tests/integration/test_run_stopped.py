"""`fanmap run` in processes of its own: pipes, Ctrl-C once and twice, SIGTERM, kill -9, and the same command again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import fanmap

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(fanmap.__file__).parents[1])}
PATIENCE = 20.0
JOB = """
import time

SECONDS = 0.6

def ask(prompt: str) -> str:
    with open("calls", "a") as calls:
        calls.write(prompt + "\\n")
    time.sleep(SECONDS if prompt >= "2" else 0)
    return prompt

async def later(prompt: str) -> str:
    import asyncio
    with open("calls", "a") as calls:
        calls.write(prompt + "\\n")
    await asyncio.sleep(SECONDS if prompt >= "2" else 0)
    return prompt

def quick(prompt: str) -> str:
    return prompt
"""
posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("job.py").write_text(JOB, encoding="utf-8")
    Path("in.txt").write_text("".join(f"{n}\n" for n in range(8)), encoding="utf-8")


def command(*words: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "fanmap", "run", *words]


def start(*words: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*words), stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )


def run(*words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words), input=text, capture_output=True, text=True, timeout=PATIENCE, env=ENVIRONMENT
    )


def called() -> list[str]:
    path = Path("calls")
    return path.read_text().split() if path.exists() else []


def until(condition) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "what should have happened has not"
        time.sleep(0.01)


def answers(name: str) -> list[str]:
    return [json.loads(line)["answer"] for line in Path(name).read_text().splitlines()]


WORDS = ("in.txt", "-o", "out.jsonl", "--max-concurrency", "2")
ALL = [str(n) for n in range(8)]


@posix
@pytest.mark.parametrize("function", ["ask", "later"])
def test_the_first_ctrl_c_lets_calls_end_and_the_same_command_goes_on(function):
    Path("out.jsonl").write_text("before")
    process = start(f"job:{function}", *WORDS)
    until(lambda: "3" in called())
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "fanmap: stopping, calls under way end; Ctrl-C again leaves at once\nfanmap: stopped\n" in said
    assert "answers are kept in out.jsonl.journal, out.jsonl is untouched: the same command goes on" in said
    assert "4 answered, 0 resumed, 0 failed, 4 not run" in said
    assert (sorted(called()), Path("out.jsonl").read_text()) == (["0", "1", "2", "3"], "before")
    done = run(f"job:{function}", *WORDS)
    assert (done.returncode, sorted(called()), answers("out.jsonl")) == (0, ALL, ALL)
    assert "4 answered, 4 resumed" in done.stderr


@posix
@pytest.mark.parametrize("function", ["ask", "later"])
def test_the_second_ctrl_c_leaves_at_once_and_what_was_answered_is_kept(function):
    Path("job.py").write_text(JOB.replace("SECONDS = 0.6", "SECONDS = 60"))
    process = start(f"job:{function}", *WORDS)
    until(lambda: "3" in called())
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline().startswith("fanmap: stopping")
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert time.monotonic() - sent < 5
    assert (process.returncode, said) == (130, "fanmap: left at once, calls under way were given up\n")
    assert not Path("out.jsonl").exists()
    Path("job.py").write_text(JOB)
    assert run(f"job:{function}", *WORDS).returncode == 0
    assert (answers("out.jsonl"), sorted(called())) == (ALL, sorted([*ALL, "2", "3"]))


@posix
def test_sigterm_is_as_the_first_ctrl_c():
    process = start("job:ask", *WORDS)
    until(lambda: "3" in called())
    process.terminate()
    process.communicate(timeout=PATIENCE)
    assert (process.returncode, sorted(called())) == (143, ["0", "1", "2", "3"])


@posix
def test_without_a_journal_what_was_answered_is_in_the_partial_file():
    process = start("job:ask", *WORDS, "--no-resume")
    until(lambda: "3" in called())
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert f"fanmap: what was answered is in {Path('out.jsonl.partial').resolve()}\n" in said
    assert answers("out.jsonl.partial") == ALL[:4]


@posix
def test_ctrl_c_that_comes_when_all_is_done_but_the_last_calls_is_not_in_the_way():
    process = start("job:ask", "in.txt", "-o", "out.jsonl", "--limit", "4")
    until(lambda: "3" in called())
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert (process.returncode, answers("out.jsonl")) == (0, ALL[:4])


@posix
def test_a_shell_that_ignores_ctrl_c_is_obeyed():
    line = "trap '' INT; exec " + " ".join(command("job:ask", "in.txt", "--limit", "4", "--max-concurrency", "1"))
    process = subprocess.Popen(
        ["sh", "-c", line], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    until(lambda: "2" in called())
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out.count("\n")) == (0, 4)


@posix
def test_a_killed_run_leaves_the_output_and_the_same_command_goes_on():
    Path("out.jsonl").write_text("before")
    process = start("job:ask", *WORDS)
    until(lambda: "4" in called())
    process.kill()
    process.communicate(timeout=PATIENCE)
    assert Path("out.jsonl").read_text() == "before"
    before = len(called())
    done = run("job:ask", *WORDS)
    assert (done.returncode, answers("out.jsonl")) == (0, ALL)
    assert len(called()) - before <= 8 - 3  # 0, 1 and one more at least were kept
    assert not Path("out.jsonl.partial").exists()


# Pipes


def test_a_pipe_in_and_a_pipe_out():
    done = run("job:quick", "-", text="b\na\n")
    assert (done.returncode, [json.loads(line)["answer"] for line in done.stdout.splitlines()]) == (0, ["b", "a"])
    assert done.stderr.startswith("2 answered, 0 resumed, 0 failed\n")


def test_an_answer_leaves_while_the_pipe_has_no_next_line_yet():
    process = start("job:quick", "-", stdin=subprocess.PIPE)
    process.stdin.write("a\n")
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["answer"] == "a"
    process.stdin.write("b")
    assert json.loads(process.communicate(timeout=PATIENCE)[0])["answer"] == "b"
    assert process.returncode == 0


@posix
def test_ctrl_c_is_heard_while_the_pipe_has_nothing_to_say():
    process = start("job:quick", "-", stdin=subprocess.PIPE)
    process.stdin.write("a\n")
    process.stdin.flush()
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=PATIENCE) == 130
    said = process.stderr.read()
    assert "fanmap: stopped\n" in said
    assert "Traceback" not in said
    for pipe in (process.stdin, process.stdout, process.stderr):
        pipe.close()


@posix
def test_a_reader_that_leaves_early_is_no_traceback():
    line = " ".join(command("job:quick", "-")) + " | head -1"
    text = "".join(f"{n}\n" for n in range(3000))
    done = subprocess.run(
        ["sh", "-c", line], input=text, capture_output=True, text=True, timeout=PATIENCE, env=ENVIRONMENT
    )
    assert (done.returncode, json.loads(done.stdout)["answer"], done.stderr) == (0, "0", "")


@pytest.mark.parametrize(
    ("words", "text", "said"),
    [
        (["--input-format", "jsonl"], '{"prompt": "a"}\n"b"\n{"prompt"\n"c"\n', "standard input, line 3: not JSON"),
        (["--input-format", "csv"], "prompt,x\na,1\nb,2\nc\n", "standard input, line 4: 1 columns, and the header has 2"),
        ([], "a\nb\n\0\nc\n", "standard input, line 3: a NUL character"),
        (
            ["--input-format", "jsonl", "--output-format", "csv"],
            '{"prompt": "a"}\n{"prompt": "b"}\n{"prompt": "c", "x": 1}\n',
            "standard input, line 3: the field 'x' is not in the CSV's header: write JSONL",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_read_from_a_pipe_ends_the_input_after_what_was_taken(words, text, said):
    done = run("job:quick", "-", *words, text=text)
    assert done.returncode == 2
    assert f"fanmap: {said}" in done.stderr
    assert "2 answered, 0 resumed, 0 failed" in done.stderr
    assert sum("a" in line or "b" in line for line in done.stdout.splitlines() if not line.startswith("prompt")) == 2


def test_of_a_pipe_that_was_cut_a_file_is_not_made():
    done = run("job:quick", "-", "-o", "out.jsonl", text="a\n\0\n")
    assert (done.returncode, Path("out.jsonl").exists()) == (2, False)
    done = run("job:quick", "-", "-o", "out.jsonl", text="a\nb\n")
    assert (done.returncode, answers("out.jsonl")) == (0, ["a", "b"])
    assert "1 answered, 1 resumed" in done.stderr
