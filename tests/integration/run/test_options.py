"""`fanmap run`: limits, retry, deadline, and names of fields."""

from __future__ import annotations

from .tools import JOB, calls, got, put, rows


def test_fields_of_the_output_can_have_other_names(run):
    put("in.csv", "prompt,answer,error\na,b,c\n")
    _, out, _ = run("job:ask", "in.csv", "--answer-field", "new", "--error-field", "why")
    assert rows(out) == [{"prompt": "a", "answer": "b", "error": "c", "new": "<a>", "why": None}]


def test_a_trial_takes_the_first_rows_and_the_rest_comes_later(run):
    put("in.txt", "a\nb\nc\n")
    assert run("job:ask", "in.txt", "-o", "out.jsonl", "--limit", "2")[0] == 0
    assert (len(rows(got("out.jsonl"))), sorted(calls())) == (2, ["a", "b"])
    _, _, said = run("job:ask", "in.txt", "-o", "out.jsonl")
    assert (len(rows(got("out.jsonl"))), sorted(calls())) == (3, ["a", "b", "c"])
    assert said.startswith("1 answered, 2 resumed, 0 failed")


def test_a_decorated_function_keeps_its_limits_unless_others_are_given(run):
    put("in.txt", "a\n")
    assert rows(run("job:decorated", "in.txt")[1])[0]["answer"] == 3
    status, _, said = run("job:decorated", "in.txt", "--max-concurrency", "5", "--rpm", "60")
    assert status == 0
    assert "job:decorated runs under --max-concurrency 5, --rpm 60.0 instead of its own limits" in said


def test_retry_repeats_and_quiet_says_only_what_failed(run):
    put("job.py", JOB + "\ndef shaky(prompt):\n    CALLS.append(prompt)\n    raise ConnectionError('cut')\n")
    put("in.txt", "a\n")
    status, out, said = run("job:shaky", "in.txt", "--retry", "2", "--quiet")
    assert (status, len(calls()), rows(out)[0]["error"]) == (1, 2, "ConnectionError: cut")
    assert said == "fanmap: 1 failed\n  item 0 (line 1): ConnectionError\n"
    assert run("job:ask", "in.txt", "--retry", "off", "--quiet")[2] == ""


def test_a_run_is_drawn_where_that_is_asked_for(run):
    put("in.txt", "a\nbad\n")
    assert run("job:ask", "in.txt", "--trace", "run.html")[0] == 1
    assert "1 ValueError" in got("run.html")
    assert "bad" not in got("run.html")


def test_a_trace_that_cannot_be_written_is_found_before_the_first_call(run):
    put("in.txt", "a\n")
    status, _, said = run("job:ask", "in.txt", "--trace", "nowhere/run.html")
    assert (status, calls()) == (2, [])
    assert said == "fanmap: --trace cannot be written: its folder does not exist: nowhere/run.html\n"
    status, _, said = run("job:ask", "in.txt", "--trace", "run.txt")
    assert (status, calls(), said) == (2, [], "fanmap: --trace must end in .html or .json, got 'run.txt'\n")


def test_a_trace_is_not_written_over_the_input(run):
    put("in.json", '"a"\n')
    status, _, said = run("job:ask", "in.json", "--input-format", "jsonl", "--trace", "in.json")
    assert (status, got("in.json")) == (2, '"a"\n')
    assert said == "fanmap: INPUT and --trace are the same file: in.json\n"
