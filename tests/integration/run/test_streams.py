"""`fanmap run`: what is no regular file is appended to, and never opened anew, replaced or given a journal."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from .tools import ENVIRONMENT, PATIENCE, command, put, rows, shell

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="descriptors that have paths")

OLD = '{"old": 1}\n'


@pytest.fixture(autouse=True)
def _job(_here):
    put("job.py", "def ask(prompt): return prompt.upper()\n")
    put("in.txt", "a\nb\n")
    put("all.jsonl", OLD)


def appended(name: str = "all.jsonl") -> bool:
    text = Path(name).read_text()
    return text.startswith(OLD) and [row["answer"] for row in rows(text[len(OLD) :])] == ["A", "B"]


@pytest.fixture
def descriptor():
    """A descriptor at the end of the file, as a shell's `7>>all.jsonl` makes it."""
    fd = os.open("all.jsonl", os.O_WRONLY | os.O_APPEND)
    yield fd
    os.close(fd)


@contextlib.contextmanager
def standard_output():
    """As a shell's `>>all.jsonl` makes it."""
    with open("all.jsonl", "a") as file, contextlib.redirect_stdout(file):
        yield


def names() -> set[str]:
    return {path.name for path in Path().iterdir()} | {path.name for path in Path("/dev").iterdir()}


@pytest.mark.parametrize("path", ["/dev/fd/{}", "/proc/self/fd/{}", "link", "link to a link"])
def test_a_descriptor_is_appended_to_whatever_file_is_behind_it(run, descriptor, path):
    if path.startswith("/proc") and not os.path.exists(os.path.dirname(path)):
        pytest.skip("no /proc")
    Path("link").symlink_to(f"/dev/fd/{descriptor}")
    Path("link to a link").symlink_to("link")
    before, inode = names(), Path("all.jsonl").stat().st_ino
    assert run("job:ask", "in.txt", "--quiet", "-o", path.format(descriptor)) == (0, "", "")
    assert (appended(), Path("all.jsonl").stat().st_ino, names()) == (True, inode, before)
    assert Path("link").is_symlink()


@pytest.mark.parametrize("words", [[], ["-o", "-"], ["-o", "/dev/fd/1"], ["-o", "link"]])
def test_standard_output_is_appended_to_by_whatever_name(run, words):
    Path("link").symlink_to("/dev/stdout")
    before = names()
    with standard_output():
        assert run("job:ask", "in.txt", "--quiet", *words)[0] == 0
    assert (appended(), names()) == (True, before)


@pytest.mark.whole
def test_so_they_are_in_a_process_of_their_own():
    inode = Path("all.jsonl").stat().st_ino
    assert shell("fanmap run job:ask in.txt --quiet -o /dev/stdout >>all.jsonl").returncode == 0
    assert (appended(), Path("all.jsonl").stat().st_ino) == (True, inode)
    put("all.jsonl", OLD)
    assert shell("fanmap run job:ask in.txt --quiet -o /dev/fd/7 7>>all.jsonl").returncode == 0
    assert (appended(), Path("/dev/stdout.journal").exists()) == (True, False)


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="no /proc")
def test_another_processs_descriptor_is_appended_to(run):
    with open("all.jsonl", "a") as file, subprocess.Popen(["sleep", "60"], pass_fds=[file.fileno()]) as other:
        assert run("job:ask", "in.txt", "--quiet", "-o", f"/proc/{other.pid}/fd/{file.fileno()}")[0] == 0
        other.kill()
    assert appended()


def test_standard_output_by_another_name_is_without_a_journal_too(run):
    status, _, said = run("job:ask", "in.txt", "-o", "/dev/stdout", "--durable")
    assert (status, said) == (2, "fanmap: --durable needs a journal: give -o FILE or --resume PATH\n")


def test_what_the_function_prints_is_not_among_the_rows_of_standard_output_by_another_name(run):
    put("job.py", "def ask(prompt):\n    print('printed')\n    return prompt.upper()\n")
    _, out, said = run("job:ask", "in.txt", "--quiet", "-o", "/dev/stdout")
    assert (len(rows(out)), said.count("printed")) == (2, 2)


@pytest.mark.parametrize("words", ["-o /dev/fd/7 7>&1 | cat", "-o /dev/fd/7 7>&1 >>all.jsonl", "-o link"])
@pytest.mark.whole
def test_what_the_function_prints_is_not_among_the_rows_of_a_copy_of_standard_output(words):
    put("job.py", "def ask(prompt):\n    print('printed')\n    return prompt.upper()\n")
    ran = shell(f"ln -s /proc/$$/fd/1 link; fanmap run job:ask in.txt --quiet {words}")
    assert [row["answer"] for row in rows(ran.stdout)] == ["A", "B"]
    assert ("printed" in ran.stderr) is (">>" not in words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["in.txt", "-o", "/dev/fd/999"], "/dev/fd/999 cannot be written: Bad file descriptor"),
        (["/dev/fd/999"], "/dev/fd/999 cannot be read: Bad file descriptor"),
        (["in.txt", "-o", "/dev/fd/2147483648"], "/dev/fd/2147483648 cannot be written: Bad file descriptor"),
        ([f"/dev/fd/{9**99}"], f"/dev/fd/{9**99} cannot be read: Bad file descriptor"),
        (["in.txt", "-o", ""], "-o must be a path, or - for standard output, got ''"),
        (["in.txt", "-o", "{folder}"], "{folder} cannot be written: it is not open to be written"),
        (["{folder}"], "{folder} is a directory: give a file"),
        (["{all}"], "{all} cannot be read: it is not open to be read"),
        (["all.jsonl", "-o", "{all}"], "all.jsonl and {all} are the same file"),
    ],
)
def test_what_cannot_be_is_said_before_any_call(run, descriptor, words, said):
    put("job.py", "def ask(prompt): open('called', 'w')\n")
    folder = os.open(".", os.O_RDONLY)
    paths = {"folder": f"/dev/fd/{folder}", "all": f"/dev/fd/{descriptor}"}
    try:
        done = run("job:ask", *(word.format(**paths) for word in words))
    finally:
        os.close(folder)
    assert done == (2, "", f"fanmap: {said.format(**paths)}\n")
    assert (Path("all.jsonl").read_text(), Path("called").exists()) == (OLD, False)


def test_an_input_that_is_standard_output_too_is_not_read(run):
    with standard_output():
        status, _, said = run("job:ask", "all.jsonl")
    assert (status, said) == (2, "fanmap: all.jsonl and standard output are the same file\n")
    assert Path("all.jsonl").read_text() == OLD


@pytest.mark.parametrize(("option", "path"), [("--resume", "kept"), ("--trace", "run.html")])
def test_a_stream_whose_file_has_another_use_is_refused_before_any_call(run, descriptor, option, path):
    put("job.py", "def ask(prompt): open('called', 'w')\n")
    os.link("all.jsonl", path)
    with standard_output():
        done = run("job:ask", "in.txt", option, path)
    assert done == (2, "", f"fanmap: standard output and {option} are the same file: {path}\n")
    fd = f"/dev/fd/{descriptor}"
    done = run("job:ask", "in.txt", option, path, "-o", fd)
    assert done == (2, "", f"fanmap: {fd} and {option} are the same file: {path}\n")
    assert (Path("all.jsonl").read_text(), Path("called").exists()) == (OLD, False)


def test_an_input_of_the_shells_is_read_from_where_it_stands(run):
    fd = os.open("in.txt", os.O_RDONLY)
    os.read(fd, 2)
    _, out, _ = run("job:ask", f"/dev/fd/{fd}")
    os.close(fd)
    assert [row["answer"] for row in rows(out)] == ["B"]


def test_a_named_pipe_is_written_to_and_stays_one(run):
    os.mkfifo("pipe")
    with subprocess.Popen(["cat", "pipe"], stdout=subprocess.PIPE, text=True) as reader:
        status = run("job:ask", "in.txt", "--quiet", "-o", "pipe")[0]
        out = reader.communicate(timeout=PATIENCE)[0]
    assert (status, len(rows(out)), Path("pipe").is_fifo()) == (0, 2, True)
    assert not Path("pipe.journal").exists()


def test_a_named_pipe_is_read(run):
    os.mkfifo("pipe")
    with subprocess.Popen(["cp", "in.txt", "pipe"]):
        assert len(rows(run("job:ask", "pipe")[1])) == 2


def test_devices_and_sockets(run):
    assert run("job:ask", "in.txt", "-o", "/dev/null")[0] == 0
    assert Path("/dev/null").is_char_device()
    assert run("job:ask", "/dev/null")[:2] == (0, "")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket")
        assert "socket cannot be written: " in run("job:ask", "in.txt", "-o", "socket")[2]
        assert "socket cannot be read: " in run("job:ask", "socket")[2]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is full")
def test_a_stream_that_takes_no_more_ends_the_run_and_says_how_to_keep_answers(run):
    status, _, said = run("job:ask", "in.txt", "-o", "/dev/full")
    assert status == 1
    assert said.startswith(
        "fanmap: /dev/full cannot be written: No space left on device\n"
        "fanmap: answers were not kept: --resume PATH keeps them\n"
    )
    assert run("job:ask", "in.txt", "-o", "/dev/full", "--resume", "kept")[0] == 1
    assert Path("kept").read_text()  # as many as were answered before the stream was found full


# Nobody there


def test_a_daemon_without_standard_output_and_error_keeps_what_it_was_answered():
    put(
        "job.py",
        "import os, stat\n"
        "def ask(prompt):\n"
        "    print(prompt)\n"
        "    return [stat.S_ISCHR(os.fstat(fd).st_mode) for fd in (0, 1, 2)]\n",  # nothing of ours is behind them
    )
    done = shell("fanmap run job:ask in.txt -o out.jsonl <&- >&- 2>&-")
    assert done.returncode == 0
    assert [row["answer"] for row in rows(Path("out.jsonl").read_text())] == [[True] * 3] * 2
    assert all(json.loads(line)["v"] == 1 for line in Path("out.jsonl.journal").read_text().splitlines())


@pytest.mark.whole
def test_without_standard_output_a_file_is_asked_for_and_nothing_is_called():
    done = shell("fanmap run job:ask in.txt >&-")
    assert (done.returncode, done.stderr) == (2, "fanmap: standard output is closed: give -o FILE\n")
    done = shell("fanmap run job:ask - <&-")
    assert (done.returncode, done.stderr) == (2, "fanmap: standard input is closed: give a file\n")


@pytest.mark.whole
def test_what_cannot_be_said_is_no_traceback_and_not_among_the_rows():
    lines = ("fanmap run job:nope in.txt", "fanmap run job:ask", "fanmap run job:ask in.txt --nope")
    done = shell("; ".join(f"{line} 2>&-; echo $?" for line in lines))
    assert done.stdout == "2\n2\n2\n"


@pytest.mark.whole
def test_standard_error_that_is_full_or_closed_by_its_reader_ends_nothing():
    if os.path.exists("/dev/full"):
        done = shell("fanmap run job:ask in.txt -o out.jsonl 2>/dev/full")
        assert (done.returncode, Path("out.jsonl").exists()) == (0, True)
    reading, writing = os.pipe()
    os.close(reading)
    with subprocess.Popen(
        command("job:ask", "in.txt", "-o", "other.jsonl"), stderr=writing, stdout=subprocess.DEVNULL, env=ENVIRONMENT
    ) as process:
        os.close(writing)
        assert process.wait(PATIENCE) == 0
    assert len(rows(Path("other.jsonl").read_text())) == 2
