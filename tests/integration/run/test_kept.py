"""`fanmap run`: what is kept, what is called for again, and what is said of it."""

from __future__ import annotations

import errno
import os
import warnings
from pathlib import Path

import pytest

from fanmap._run import output

from .tools import JOB, calls, got, is_one_line, put, rows


def test_failures_are_listed_by_index_line_and_kind_without_what_they_say(run):
    put("in.txt", "good\n\n" + "bad secret\n" * 30)
    status, _, said = run("job:ask", "in.txt", "-o", "out.jsonl")
    lines = said.splitlines()
    assert (status, "secret" in said) == (1, False)
    assert lines[:2] == ["fanmap: 30 failed", "  item 1 (line 3): ValueError"]
    assert lines[20:22] == ["  item 20 (line 22): ValueError", "  and 10 more"]
    assert lines[22:24] == [
        "fanmap: rerun the same command to retry only these",
        "fanmap: 1 empty row left out (line 2)",
    ]
    assert lines[24] == "1 answered, 0 resumed, 30 failed (30 ValueError)"
    assert rows(got("out.jsonl"))[1] == {"input": "bad secret", "answer": None, "error": "ValueError: no: bad secret"}


def test_the_same_command_again_calls_only_for_what_failed(run):
    put("in.txt", "a\nbad\nb\n")
    assert run("job:ask", "in.txt", "-o", "out.csv")[0] == 1
    first = got("out.csv")
    assert run("job:ask", "in.txt", "-o", "out.csv")[0] == 1
    assert (sorted(calls()), got("out.csv")) == (["a", "b", "bad", "bad"], first)


def test_damage_to_the_journal_is_said_in_a_line_of_the_commands_own(run):
    put("in.txt", "a\nb\n")
    run("job:ask", "in.txt", "-o", "out.jsonl")
    put("out.jsonl.journal", got("out.jsonl.journal").replace("<b>", "<c>"))
    status, _, said = run("job:ask", "in.txt", "-o", "out.jsonl")
    lines = said.splitlines()
    assert (status, lines[0]) == (0, "fanmap: out.jsonl.journal: 1 damaged record(s) skipped; their items run again")
    assert lines[1] == "1 answered, 1 resumed, 0 failed"
    assert "Warning" not in said


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no disk that is always full")
def test_so_is_a_trace_that_finds_no_room(run):
    put("in.txt", "a\n")
    Path("run.html").symlink_to("/dev/full")
    status, _, said = run("job:ask", "in.txt", "-o", "out.jsonl", "--trace", "run.html")
    assert (status, got("out.jsonl").count("\n")) == (0, 1)
    assert said.startswith("fanmap: --trace run.html could not be written: No space left on device\n1 answered")


def test_what_a_function_does_to_the_list_that_it_is_given_is_not_in_its_row(run):
    put(
        "appending.py",
        "def ask(messages):\n    messages[0]['n'] = 1\n    messages.append('answer')\n    return 'answer'\n",
    )
    put("in.jsonl", '{"id": 1, "messages": [{"role": "user"}]}\n')
    for _ in range(2):  # called, and kept
        assert run("appending:ask", "in.jsonl", "-o", "out.jsonl")[0] == 0
        (row,) = rows(got("out.jsonl"))
        assert row == {"id": 1, "messages": [{"role": "user"}], "answer": "answer", "error": None}


def test_a_column_that_is_not_passed_is_no_part_of_what_is_asked(run):
    run("job:ask", put("in.csv", "prompt\na\nb\n"), "-o", "out.jsonl")
    run("job:ask", put("in.csv", "id,prompt\n1,b\n2,a\n"), "-o", "out.jsonl")
    assert sorted(calls()) == ["a", "b"]
    assert [(row["id"], row["answer"]) for row in rows(got("out.jsonl"))] == [("1", "<b>"), ("2", "<a>")]


def test_another_version_another_journal_or_none_calls_again(run):
    put("in.txt", "a\n")
    for count, words in enumerate(
        ([], ["--function-version", "2"], ["--resume", "other"], ["--no-resume"], ["--durable"]), 1
    ):
        assert run("job:ask", "in.txt", "-o", "out.jsonl", *words)[0] == 0
        assert len(calls()) == min(count, 4)  # the last one finds the first one's
    assert Path("out.jsonl.journal").exists()
    assert Path("other").exists()


def test_a_run_that_calls_nothing_says_so(run):
    put("in.txt", "a\nb\n")
    run("job:ask", "in.txt", "-o", "out.jsonl")
    assert run("job:ask", "in.txt", "-o", "out.jsonl")[2] == (
        "0 answered, 2 resumed, 0 failed\nno calls: every result was in the journal\n"
    )


def test_standard_output_can_have_a_journal(run):
    put("in.txt", "a\n")
    assert run("job:ask", "in.txt", "--resume", "kept")[1] == run("job:ask", "in.txt", "-o", "-", "--resume", "kept")[1]
    assert calls() == ["a"]


@pytest.fixture
def full(monkeypatch):
    """A disk that takes no more of the journal, after so many lines."""
    from fanmap._drive.journals.journal import Journal

    write = Journal._write

    def after(lines):
        def fill(self, line):
            nonlocal lines
            lines -= 1
            if lines < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            write(self, line)

        monkeypatch.setattr(Journal, "_write", fill)

    return after


@pytest.mark.parametrize("lines", [0, 1, 7])
@pytest.mark.parametrize("workers", ["1", "4"])
def test_a_journal_that_cannot_be_written_ends_the_run(run, full, lines, workers):
    put("in.txt", "".join(f"{n}\n" for n in range(1000)))
    full(lines)
    status, _, said = run("job:ask", "in.txt", "-o", "out.jsonl", "--max-concurrency", workers)
    assert (status, Path("out.jsonl").exists()) == (1, False)
    assert "fanmap: stopped by the journal: out.jsonl.journal cannot be written: No space left on device\n" in said
    kept = "fanmap: answers are kept in out.jsonl.journal, out.jsonl is untouched"
    assert f"{kept}: once there is room, rerun the same command to resume\n" in said
    assert "Warning" not in said
    assert len(calls()) <= lines + int(workers)


def test_a_file_that_is_whole_all_the_same_is_said_to_be_paid_for_again(run, full):
    put("in.txt", "a\n")
    full(0)
    status, _, said = run("job:ask", "in.txt", "-o", "out.jsonl")
    if status == 0:  # it had seen the end of the input by then
        assert said.startswith("fanmap: not all answers were kept: the journal: out.jsonl.journal cannot be written")
        assert len(rows(got("out.jsonl"))) == 1
    else:
        assert "stopped by the journal" in said


def test_a_disk_that_takes_neither_rows_nor_answers_is_not_said_to_have_kept_them(run, full, monkeypatch):
    def fail(fd, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(output, "write_all", fail)
    full(0)
    status, _, said = run("job:ask", put("in.txt", "a\nb\n"), "-o", "out.jsonl")
    assert status == 1
    assert said.startswith(
        "fanmap: not all answers were kept: the journal: out.jsonl.journal cannot be written: No space left on device\n"
        "fanmap: out.jsonl cannot be written: No space left on device\n"
    )


def test_other_warnings_are_shown_as_ever(run):
    put("job.py", "import warnings\ndef ask(prompt):\n    warnings.warn('of the user')\n    return prompt\n")
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        assert run("job:ask", put("in.txt", "a\n"))[0] == 0
    assert [str(one.message) for one in shown] == ["of the user"]


def test_a_journal_in_use_is_one_line(run):
    from fanmap._drive.journals.journal import Journal

    journal = Journal("out.jsonl.journal", durable=False)
    status, _, said = run("job:ask", put("in.txt", "a\n"), "-o", "out.jsonl")
    journal.close()
    assert (status, is_one_line(said), "is in use by another run" in said) == (2, True, True)
    assert not Path("out.jsonl.partial").exists()


def test_a_module_that_goes_to_another_folder_does_not_take_the_paths_along(run, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    put("job.py", "import os\nos.chdir('elsewhere')\n" + JOB)
    put("in.txt", "a\n")
    assert run("job:ask", "in.txt", "-o", "out.jsonl")[0] == 0
    assert (len(rows((tmp_path / "out.jsonl").read_text())), (tmp_path / "out.jsonl.journal").exists()) == (1, True)
    assert list((tmp_path / "elsewhere").iterdir()) == []
