"""`fanmap run` between pipes: answers leave as they come, and what is wrong with a line is said after those before."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from .tools import PATIENCE, finish, put, shell, start

posix = pytest.mark.skipif(os.name != "posix", reason="signals and shells of POSIX")


@pytest.fixture(autouse=True)
def _job(_here):
    put("job.py", "def quick(prompt):\n    with open('calls', 'a') as calls: calls.write('x')\n    return prompt\n")


def answers(text: str) -> list[str]:
    return [json.loads(line)["answer"] for line in text.splitlines()]


def test_a_pipe_in_and_a_pipe_out():
    done = finish("job:quick", "-", text="b\na\n")
    assert (done.returncode, answers(done.stdout)) == (0, ["b", "a"])
    assert done.stderr.startswith("2 answered, 0 resumed, 0 failed\n")


def test_an_answer_leaves_while_the_pipe_has_no_next_line_yet():
    process = start("job:quick", "-", stdin=subprocess.PIPE)
    process.stdin.write("a\n")
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["answer"] == "a"
    process.stdin.write("b")
    assert answers(process.communicate(timeout=PATIENCE)[0]) == ["b"]
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
    assert "fanmap: stopped by Ctrl-C\nfanmap: answers were not kept: --resume PATH keeps them\n" in said
    assert "Traceback" not in said
    for pipe in (process.stdin, process.stdout, process.stderr):
        pipe.close()


@posix
def test_a_reader_that_leaves_early_is_no_traceback():
    put("in.txt", "".join(f"{n}\n" for n in range(3000)))
    done = shell("fanmap run job:quick - < in.txt | head -1")
    assert (answers(done.stdout), done.stderr) == (["0"], "")
    assert len(Path("calls").read_text()) < 3000


@posix
@pytest.mark.whole
def test_what_is_under_way_when_the_reader_leaves_is_kept_where_there_is_a_journal():
    put(
        "job.py",
        "import pathlib, select, time\n"
        "output = select.poll()\n"
        "output.register(1, 0)\n"  # it tells, unasked, that nobody has the other end any more
        "def ask(prompt):\n"
        "    if prompt == '2':\n"
        "        pathlib.Path('begun').touch()\n"
        "    while prompt == '1' and not (pathlib.Path('begun').exists() and output.poll(0)):\n"
        "        time.sleep(0.005)\n"
        "    while prompt == '2' and len(pathlib.Path('kept').read_text().splitlines()) < 2:\n"
        "        time.sleep(0.005)\n"
        "    time.sleep(0.2 * (prompt == '2'))\n"  # row 1 is written meanwhile, to nobody
        "    return prompt\n",
    )
    put("in.txt", "0\n1\n2\n")
    done = shell("fanmap run job:ask in.txt --resume kept | head -1")
    assert (answers(done.stdout), done.stderr) == (["0"], "")
    assert len(Path("kept").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("words", "text", "said"),
    [
        (["--input-format", "jsonl"], '{"prompt": "a"}\n"b"\n{"prompt"\n"c"\n', "standard input, line 3: not JSON"),
        pytest.param(
            ["--input-format", "csv"],
            "prompt,x\na,1\nb,2\nc\n",
            "standard input, line 4: 1 columns, but the header has 2",
            marks=pytest.mark.whole,
        ),
        pytest.param(
            [], "a\nb\n\0\nc\n", "standard input, line 3: a NUL character", marks=pytest.mark.whole
        ),
        pytest.param(
            ["--input-format", "jsonl", "--output-format", "csv"],
            '{"prompt": "a"}\n{"prompt": "b"}\n{"prompt": "c", "x": 1}\n',
            "standard input, line 3: the field 'x' is not in the CSV header: write JSONL",
            marks=pytest.mark.whole,
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_read_from_a_pipe_ends_the_input_after_what_was_taken(words, text, said):
    done = finish("job:quick", "-", *words, "--resume", "kept", text=text)
    assert done.returncode == 2
    assert f"fanmap: {said}" in done.stderr
    assert "answers are kept in kept: after fixing the input, rerun the same command to resume\n" in done.stderr
    assert "2 answered, 0 resumed, 0 failed" in done.stderr
    assert sum("a" in line or "b" in line for line in done.stdout.splitlines() if not line.startswith("prompt")) == 2


@pytest.mark.parametrize(
    ("words", "text", "said"),
    [
        (["--input-format", "jsonl"], '[{"prompt": "a"}, {"prompt": "b"}]', "line 1: the input is one JSON array"),
        (["--input-format", "csv"], "id;prompt\n1;a\n", "line 1: ';' seems to separate the columns"),
    ],
)
@pytest.mark.whole
def test_a_pipe_in_another_layout_is_refused_before_any_call(words, text, said):
    done = finish("job:quick", "-", *words, text=text)
    assert (done.returncode, done.stdout, said in done.stderr) == (2, "", True)
    assert not Path("calls").exists()


@pytest.mark.whole
def test_of_a_pipe_that_was_cut_a_file_is_not_made():
    done = finish("job:quick", "-", "-o", "out.jsonl", text="a\n\0\n")
    assert (done.returncode, Path("out.jsonl").exists()) == (2, False)
    done = finish("job:quick", "-", "-o", "out.jsonl", text="a\nb\n")
    assert (done.returncode, answers(Path("out.jsonl").read_text())) == (0, ["a", "b"])
    assert "1 answered, 1 resumed" in done.stderr


@pytest.mark.whole
def test_empty_lines_of_a_pipe_are_said_at_the_end():
    done = finish("job:quick", "-", text="a\n \n\nb\n")
    assert (done.returncode, answers(done.stdout)) == (0, ["a", "b"])
    assert done.stderr.startswith("fanmap: 2 empty rows left out (the first is line 2)\n2 answered")
