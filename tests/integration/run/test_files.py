"""`fanmap run -o FILE`: whole or not there, and nothing else is written to."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from fanmap._run import output

from .tools import calls, got, is_one_line, put, rows

posix = pytest.mark.skipif(os.name != "posix", reason="links, modes and pipes of POSIX")


@posix
def test_a_link_stays_a_link_and_the_mode_stays_the_mode(run):
    put("in.txt", "a\n")
    put("real.jsonl", "")
    Path("real.jsonl").chmod(0o640)
    Path("out.jsonl").symlink_to("real.jsonl")
    assert run("job:ask", "in.txt", "-o", "out.jsonl")[0] == 0
    assert Path("out.jsonl").is_symlink()
    assert (len(rows(got("real.jsonl"))), Path("real.jsonl").stat().st_mode & 0o777) == (1, 0o640)


@posix
def test_a_link_that_leads_to_itself_is_refused(run):
    Path("out.jsonl").symlink_to("out.jsonl")
    status, _, said = run("job:ask", put("in.txt", "a\n"), "-o", "out.jsonl")
    assert (status, is_one_line(said), "symbolic link to itself" in said) == (2, True, True)
    assert Path("out.jsonl").is_symlink()


# What is at the place of the partial file


@posix
@pytest.mark.parametrize("more", [[], ["--no-resume"]])
@pytest.mark.parametrize("target", ["precious", "not there"])
def test_a_link_at_the_partial_file_is_not_followed(run, more, target):
    put("in.txt", "a\n")
    put("precious", "untouched")
    Path("out.jsonl.partial").symlink_to(target)
    status, _, said = run("job:ask", "in.txt", "-o", "out.jsonl", *more)
    assert (status, is_one_line(said), calls()) == (2, True, [])
    assert "out.jsonl.partial already exists, and is not a regular file: move it or remove it\n" in said
    assert (got("precious"), Path("not there").exists()) == ("untouched", False)


@posix
def test_a_pipe_at_the_partial_file_is_not_waited_for(run):
    os.mkfifo("out.jsonl.partial")
    status, _, said = run("job:ask", put("in.txt", "a\n"), "-o", "out.jsonl")
    assert (status, "is not a regular file" in said) == (2, True)


@posix
def test_a_link_that_is_put_there_at_the_last_moment_is_not_followed(run, monkeypatch):
    put("precious", "untouched")
    Path("out.jsonl.partial").symlink_to("precious")

    def nothing_there(path):
        raise FileNotFoundError

    monkeypatch.setattr(output.os, "lstat", nothing_there)
    status, _, said = run("job:ask", put("in.txt", "a\n"), "-o", "out.jsonl")
    assert (status, got("precious"), "File exists" in said) == (2, "untouched", True)


@posix
def test_another_name_of_a_file_at_the_partial_file_is_taken_away_and_the_file_stays(run):
    put("in.txt", "a\n")
    run("job:ask", "in.txt", "-o", "out.jsonl")  # so that there is a journal
    put("precious", "untouched")
    os.link("precious", "out.jsonl.partial")
    assert run("job:ask", "in.txt", "-o", "out.jsonl")[0] == 0
    assert (got("precious"), len(rows(got("out.jsonl")))) == ("untouched", 1)


@pytest.mark.parametrize("more", [[], ["--no-resume"], ["--resume", "elsewhere"]])
def test_a_partial_file_that_is_not_known_to_be_ours_is_not_overwritten(run, more):
    put("in.txt", "a\n")
    put("out.jsonl.partial", "precious")
    status, _, said = run("job:ask", "in.txt", "-o", "out.jsonl", *more)
    assert (status, is_one_line(said), got("out.jsonl.partial")) == (2, True, "precious")
    assert "out.jsonl.partial already exists, perhaps from a run that was interrupted" in said


def test_then_the_drawing_of_an_earlier_run_stays(run):
    put("in.txt", "a\n")
    put("out.jsonl.partial", "precious")
    put("run.html", "drawn")
    assert run("job:ask", "in.txt", "-o", "out.jsonl", "--trace", "run.html")[0] == 2
    assert got("run.html") == "drawn"


def test_one_of_a_run_that_was_cut_short_makes_room(run):
    put("in.txt", "a\n")
    run("job:ask", "in.txt", "-o", "out.jsonl")
    put("out.jsonl.partial", "of that run")
    assert run("job:ask", "in.txt", "-o", "out.jsonl")[0] == 0
    assert not Path("out.jsonl.partial").exists()


def test_an_empty_one_makes_room(run):
    put("out.jsonl.partial", "")
    assert run("job:ask", put("in.txt", "a\n"), "-o", "out.jsonl")[0] == 0


# Files that are the same


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["in.txt", "-o", "in.txt"], "INPUT and OUTPUT are the same file: in.txt"),
        (["in.txt", "-o", "./in.txt"], "INPUT and OUTPUT are the same file"),
        (["in.txt", "-o", "hard.jsonl"], "INPUT and OUTPUT are the same file"),
        (["in.txt", "-o", "soft.jsonl"], "INPUT and OUTPUT are the same file"),
        (["in.txt", "-o", "out", "--resume", "in.txt"], "INPUT and --resume are the same file"),
        (["out.partial", "-o", "out"], "INPUT and the partial OUTPUT are the same file"),
        (["out.journal", "-o", "out"], "INPUT and the journal are the same file"),
        (["in.txt", "-o", "out", "--resume", "out"], "OUTPUT and --resume are the same file"),
        (["in.txt", "-o", "out", "--resume", "out.partial"], "the partial OUTPUT and --resume are the same file"),
        (["in.txt", "-o", "job.py"], "OUTPUT and the module are the same file"),
        (["in.txt", "-o", "out", "--resume", "job.py"], "--resume and the module are the same file"),
    ],
)  # fmt: skip
def test_no_file_is_two_things_at_once(run, words, said):
    for name in ("in.txt", "out.partial", "out.journal"):
        put(name, "a\n")
    os.link("in.txt", "hard.jsonl")
    Path("soft.jsonl").symlink_to("in.txt")
    before = {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    status, _, error = run("job:ask", *words)
    assert (status, is_one_line(error), calls()) == (2, True, []), error
    assert said in error
    assert {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before


# Files that cannot be written


@posix
def test_a_file_that_is_not_to_be_written_is_not_replaced(run, monkeypatch):
    put("in.txt", "a\n")
    put("out.jsonl", "precious")
    monkeypatch.setattr(output.os, "access", lambda path, mode: False)  # for the superuser every file is writable
    status, _, said = run("job:ask", "in.txt", "-o", "out.jsonl")
    assert (status, said) == (2, "fanmap: out.jsonl cannot be written: Permission denied\n")
    assert got("out.jsonl") == "precious"


def full(monkeypatch, name, *, after):
    """The disk takes so many bytes of this file."""
    write = output.write_all
    taken = 0

    def fill(fd, data):
        nonlocal taken
        taken += len(data)
        if taken > after:
            write(fd, data[:1])
            raise OSError(errno.ENOSPC, "No space left on device")
        write(fd, data)

    monkeypatch.setattr(output, "write_all", fill)


def test_a_disk_that_is_full_loses_nothing(run, monkeypatch):
    put("in.txt", "a\nb\nc\n")
    put("out.jsonl", "before")
    with monkeypatch.context() as patch:
        full(patch, "out.jsonl", after=60)
        status, _, said = run("job:ask", "in.txt", "-o", "out.jsonl")
    assert (status, got("out.jsonl")) == (1, "before")
    assert "fanmap: out.jsonl cannot be written: No space left on device\n" in said
    kept = "fanmap: answers are kept in out.jsonl.journal, out.jsonl is untouched"
    assert f"{kept}: once there is room, rerun the same command to resume\n" in said
    asked = len(calls())
    assert run("job:ask", "in.txt", "-o", "out.jsonl")[0] == 0
    assert len(rows(got("out.jsonl"))) == len(calls()) == 3
    assert asked >= 2


def test_a_disk_that_is_full_at_the_very_end_leaves_the_output(run, monkeypatch):
    put("in.txt", "a\n")
    put("out.jsonl", "before")

    def fail(fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(output.os, "fsync", fail)
    status, _, said = run("job:ask", "in.txt", "-o", "out.jsonl", "--no-resume")
    assert (status, got("out.jsonl")) == (1, "before")
    assert f"fanmap: the rows so far are in {Path('out.jsonl.partial').resolve()}\n" in said
    assert len(rows(got("out.jsonl.partial"))) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="a folder that is read-only for the superuser too")
def test_a_folder_that_is_read_only_is_said_before_any_call(run):
    status, _, said = run("job:ask", put("in.txt", "a\n"), "-o", "/proc/out.jsonl")
    assert (status, is_one_line(said), calls()) == (2, True, [])
