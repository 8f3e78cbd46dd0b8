"""`fanmap run`: formats in and out, which field goes where, what is refused before any call, and what is kept."""

from __future__ import annotations

import csv
import errno
import io
import json
import sys
from pathlib import Path

import pytest

from fanmap.__main__ import main
from fanmap._run import job as job_module
from fanmap._run import output as output_module

JOB = """
import dataclasses
import enum
from fanmap import NotRun, parallel_map

CALLS = []

def ask(prompt):
    CALLS.append(prompt)
    if "bad" in str(prompt):
        raise ValueError(f"no: {prompt}")
    return f"<{prompt}>"

def two(prompt: str, model: str = "small", *, note: str = "") -> list[str]:
    CALLS.append(prompt)
    return [prompt, model, note]

def only(*, prompt):
    return prompt

def bare(*args):
    return list(args)

def options(**options):
    return options

async def later(prompt):
    return prompt

@parallel_map(max_concurrency=3, retry=False)
def decorated(prompt):
    CALLS.append(prompt)
    return decorated._settings.limits.max_concurrency

@dataclasses.dataclass
class Answer:
    text: str
    size: int

def dressed(prompt) -> Answer:
    return Answer(prompt, len(prompt))

def foreign(prompt):
    CALLS.append(prompt)
    return {prompt}

def printing(prompt):
    print("from the function")
    return prompt

def nothing(prompt):
    return None

def generator(prompt):
    yield prompt

class Fatal(Exception):
    status_code = 401

def locked(prompt):
    CALLS.append(prompt)
    raise Fatal("the key sk-secret is wrong")

number = 3
"""


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "job", raising=False)
    (tmp_path / "job.py").write_text(JOB, encoding="utf-8")
    yield
    sys.modules.pop("job", None)


@pytest.fixture
def run(capsys):
    """Run the command: exit status, standard output, standard error."""

    def run(*words: str):
        try:
            status = main(["run", *words])
        except SystemExit as exit:
            status = exit.code
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def calls():
    return sys.modules["job"].CALLS


def put(name: str, text: str | bytes) -> str:
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return name


def got(name: str) -> str:
    return Path(name).read_bytes().decode()


def rows(text: str) -> list[dict]:
    return [json.loads(line) for line in text.split("\n") if line]


def records(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def is_one_line(text: str) -> bool:
    return text.startswith("fanmap: ") and text.count("\n") == 1 and text.endswith("\n")


# Formats


def test_lines_in_json_lines_out_in_order_to_standard_output(run):
    status, out, _ = run("job:ask", put("in.txt", "b\n\na \r\nä\u2028ö"))
    assert status == 0
    assert [(row["input"], row["answer"], row["error"]) for row in rows(out)] == [
        ("b", "<b>", None),
        ("a ", "<a >", None),
        ("ä\u2028ö", "<ä\u2028ö>", None),
    ]


def test_json_lines_keep_their_fields_and_their_order(run):
    line = {"id": 7, "prompt": "ä", "more": {"deep": [1.5, None, True]}}
    status, out, _ = run("job:ask", put("in.jsonl", json.dumps(line) + "\n"))
    assert (status, rows(out)) == (0, [{**line, "answer": "<ä>", "error": None}])
    assert list(rows(out)[0]) == ["id", "prompt", "more", "answer", "error"]
    assert "ä" in out


def test_json_values_are_the_one_argument(run):
    status, out, _ = run("job:ask", put("in.jsonl", '3\n"a"\n[1, 2]\nnull\n'))
    assert status == 0
    assert [(row["input"], row["answer"]) for row in rows(out)] == [
        (3, "<3>"), ("a", "<a>"), ([1, 2], "<[1, 2]>"), (None, "<None>")
    ]  # fmt: skip


def test_csv_in_and_out_with_newlines_quotes_and_commas(run):
    text = 'id,prompt\r\n1,"two\nlines, ""quoted"""\r\n2,plain\r\n'
    assert run("job:ask", put("in.csv", text), "-o", "out.csv")[0] == 0
    assert records(got("out.csv")) == [
        ["id", "prompt", "answer", "error"],
        ["1", 'two\nlines, "quoted"', '<two\nlines, "quoted">', ""],
        ["2", "plain", "<plain>", ""],
    ]


def test_a_carriage_return_in_an_answer_comes_back_from_csv(run):
    run("job:ask", put("in.jsonl", '{"prompt": "a\\rb"}\n'), "-o", "out.csv")
    assert records(got("out.csv"))[1] == ["a\rb", "<a\rb>", ""]


def test_a_csv_field_may_be_longer_than_the_csv_module_allows(run):
    long = "x" * 200_000
    assert run("job:ask", put("in.csv", f"prompt\n{long}\n"), "-o", "out.jsonl")[0] == 0
    assert rows(got("out.jsonl"))[0]["answer"] == f"<{long}>"


@pytest.mark.parametrize(
    ("name", "text"), [("in.txt", "a\n"), ("in.csv", "prompt\na\n"), ("in.jsonl", '{"prompt": "a"}\n')]
)
def test_a_byte_order_mark_is_no_part_of_the_text(run, name, text):
    status, out, _ = run("job:ask", put(name, b"\xef\xbb\xbf" + text.encode()))
    assert (status, rows(out)[0]["answer"]) == (0, "<a>")


@pytest.mark.parametrize(
    ("name", "text", "written"),
    [
        ("in.txt", "", "input,answer,error\n"),
        ("in.txt", "\n \n", "input,answer,error\n"),
        ("in.csv", "id,prompt\n", "id,prompt,answer,error\n"),
        ("in.jsonl", "", "answer,error\n"),
    ],
)
def test_no_rows_are_an_output_without_rows(run, name, text, written):
    status, _, said = run("job:ask", put(name, text), "-o", "out.csv")
    assert (status, got("out.csv")) == (0, written)
    assert said.startswith("0 answered")


def test_formats_can_be_said(run):
    status, out, _ = run(
        "job:ask", put("in.data", '{"prompt": "a"}\n'), "--input-format", "jsonl", "--output-format", "csv"
    )
    assert (status, out) == (0, "prompt,answer,error\na,<a>,\n")


def test_a_csv_has_the_columns_of_all_rows_and_what_is_no_text_as_json(run):
    put("in.jsonl", '{"prompt": "a", "x": [1]}\n{"prompt": "b", "y": null, "z": 1.5}\n')
    assert run("job:two", "in.jsonl", "-o", "out.csv")[0] == 0
    assert records(got("out.csv")) == [
        ["prompt", "x", "y", "z", "answer", "error"],
        ["a", "[1]", "", "", '["a", "small", ""]', ""],
        ["b", "", "", "1.5", '["b", "small", ""]', ""],
    ]


def test_half_a_surrogate_pair_is_written_escaped(run):
    status, out, _ = run("job:ask", put("in.jsonl", '{"prompt": "\\ud800"}\n'))
    assert (status, rows(out)[0]["answer"]) == (0, "<\ud800>")
    assert run("job:ask", "in.jsonl", "--output-format", "csv")[1].splitlines()[1] == "\\ud800,<\\ud800>,"


def test_an_answer_is_json_by_the_functions_annotation_and_the_same_when_resumed(run):
    put("in.txt", "abc\n")
    assert [run("job:dressed", "in.txt", "-o", "out.jsonl")[0], got("out.jsonl")] == [
        0, '{"input": "abc", "answer": {"text": "abc", "size": 3}, "error": null}\n'
    ]  # fmt: skip
    assert "1 resumed" in run("job:dressed", "in.txt", "-o", "out.jsonl")[2]
    assert rows(got("out.jsonl"))[0]["answer"] == {"text": "abc", "size": 3}


def test_an_answer_that_has_no_json_ends_the_run_and_says_its_type(run):
    put("in.txt", "secret\n" * 100)
    for more in ([], ["-o", "out.jsonl"], ["-o", "out.jsonl", "--no-resume"]):
        Path("out.jsonl.partial").unlink(missing_ok=True)
        status, _, said = run("job:foreign", "in.txt", *more)
        assert (status, "an answer of type set has no JSON" in said, "secret" in said) == (1, True, False)
        assert not Path("out.jsonl").exists()
    assert len(calls()) < 100


def test_an_answer_that_cannot_be_kept_says_what_to_do(run):
    put("job.py", JOB.replace("-> Answer", ""))
    put("in.txt", "a\n" * 50)
    status, _, said = run("job:dressed", "in.txt", "-o", "out.jsonl")
    assert (status, Path("out.jsonl").exists()) == (1, False)
    assert "fanmap: a journal cannot keep the Answer that dressed returned for item " in said
    assert (
        "annotate what the function returns with a dataclass, a pydantic model or types of JSON, or say --no-resume"
        in said
    )
    Path("out.jsonl.partial").unlink()
    assert run("job:dressed", "in.txt", "-o", "out.jsonl", "--no-resume")[0] == 0
    assert rows(got("out.jsonl"))[49]["answer"] == {"text": "a", "size": 1}


def test_an_annotation_that_cannot_be_kept_is_refused_before_any_call(run):
    put(
        "job.py",
        JOB
        + "\n@dataclasses.dataclass\nclass Tree:\n    twigs: 'list[Tree]'\n\ndef grow(prompt) -> Tree:\n    CALLS.append(1)\n",
    )
    put("in.txt", "a\n")
    status, _, said = run("job:grow", "in.txt", "-o", "out.jsonl")
    assert (status, is_one_line(said), calls()) == (2, True, [])
    assert "fanmap: a journal cannot keep what grow returns (a type that contains itself): say --no-resume" in said


def test_an_answer_that_was_kept_in_another_shape_is_told(run):
    put("in.txt", "abc\n")
    run("job:dressed", "in.txt", "-o", "out.jsonl")
    put("job.py", JOB.replace("size: int", "size: int\n    colour: str"))
    del sys.modules["job"]
    status, _, said = run("job:dressed", "in.txt", "-o", "out.jsonl")
    assert status == 1
    assert "fanmap: out.jsonl.journal has a result for item 0 of dressed that cannot be decoded (TypeError)" in said
    assert "give another --function-version\n" in said


def test_an_answer_may_be_none(run):
    assert rows(run("job:nothing", put("in.txt", "a\n"))[1]) == [{"input": "a", "answer": None, "error": None}]


def test_what_the_function_prints_is_not_among_the_rows(run):
    _, out, said = run("job:printing", put("in.txt", "a\n"))
    assert rows(out) == [{"input": "a", "answer": "a", "error": None}]
    assert "from the function" in said


# Which field goes where


@pytest.mark.parametrize(
    ("function", "fields", "mapping", "answer"),
    [
        ("two", {"id": 1, "prompt": "a", "model": "m", "note": "n"}, [], ["a", "m", "n"]),
        ("two", {"prompt": "a"}, [], ["a", "small", ""]),
        ("two", {"question": "a"}, [], ["a", "small", ""]),
        ("two", {"q": "a", "model": "m"}, ["q=prompt"], ["a", "small", ""]),
        ("two", {"q": "a", "m=x": "m"}, ["q=prompt", "m=x=model"], ["a", "m", ""]),
        ("only", {"question": "a"}, [], "a"),
        ("bare", {"question": "a"}, [], ["a"]),
        ("options", {"q": "a", "id": 1}, ["q=anything"], {"anything": "a"}),
        ("later", {"id": 1, "prompt": "a"}, [], "a"),
    ],
)
def test_fields_become_arguments(run, function, fields, mapping, answer):
    put("in.jsonl", json.dumps(fields) + "\n")
    status, out, said = run(f"job:{function}", "in.jsonl", *(word for one in mapping for word in ("--map", one)))
    assert (status, rows(out) and rows(out)[0]["answer"]) == (0, answer), said


def test_a_line_can_be_mapped(run):
    assert rows(run("job:only", put("in.txt", "a\n"), "--map", "input=prompt")[1])[0]["answer"] == "a"


def test_rows_may_have_different_fields(run):
    put("in.jsonl", '{"prompt": "a"}\n{"model": "m", "prompt": "b"}\n"c"\n')
    assert [row["answer"][:2] for row in rows(run("job:two", "in.jsonl")[1])] == [
        ["a", "small"],
        ["b", "m"],
        ["c", "small"],
    ]


# What is refused, before any call


@pytest.mark.parametrize(
    ("words", "text", "said"),
    [
        (["job.py:ask", "in.txt"], "a", "MODULE:FUNCTION is wanted, got 'job.py:ask': write job:ask"),
        (["sub/job.py:ask", "in.txt"], "a", "write sub.job:ask"),
        (["job", "in.txt"], "a", "write job:FUNCTION"),
        ([":ask", "in.txt"], "a", "write job:ask"),
        (["jab:ask", "in.txt"], "a", "there is no module jab in "),
        (["job:aks", "in.txt"], "a", "job has no aks: is it ask?"),
        (["job:number", "in.txt"], "a", "job:number is not a function but a int"),
        (["job:generator", "in.txt"], "a", "cannot run a generator function"),
        (["job:ask", "none.txt"], "a", "none.txt cannot be read: No such file"),
        (["job:ask", "."], "a", ". is a directory"),
        (["job:ask", "in.json"], "[]", "in.json: .json is not read"),
        (["job:ask", "in.jsonl"], '{"prompt": 1}\n{"prompt": ', "in.jsonl, line 2: not JSON: "),
        (["job:ask", "in.csv"], "prompt,b\n1,2\n\n1,2,3\n", "in.csv, line 4: 3 columns, and the header has 2"),
        (["job:ask", "in.csv"], "a,b,a\n", "in.csv, line 1: two columns with the name 'a'"),
        (["job:ask", "in.csv"], 'prompt\n"a\n', "in.csv, line 2: not CSV: "),
        (["job:ask", "in.txt"], b"a\nb\xff\n", "in.txt, line 2: not UTF-8 (byte 2 of the line)"),
        (["job:ask", "in.txt"], b"a\n\0\n", "in.txt, line 2: a NUL character"),
        (["job:ask", "in.csv"], "a,b\n1,2\n", "no field has the name of a parameter: ask takes (prompt); the fields are 'a', 'b'; say --map"),
        (["job:two", "in.csv"], "model,note\n1,2\n", "in.csv, line 2: missing a required argument: 'prompt': two takes "),
        (["job:options", "in.csv"], "a\n1\n", "no field has the name of a parameter"),
        (["job:only", "in.txt"], "a", "a line or a value is one argument"),
        (["job:ask", "in.csv", "--map", "x=prompt"], "a\n1\n", "line 2: --map: there is no field 'x'"),
        (["job:ask", "in.csv", "--map", "a=x"], "a\n1\n", "--map: ask has no parameter x, takes (prompt)"),
        (["job:ask", "in.csv", "--map", "a=prompt", "--map", "b=prompt"], "a,b\n1,2\n", "--map names an argument twice"),
        (["job:ask", "in.csv", "--map", "a"], "a\n1\n", "must be FIELD=ARGUMENT"),
        (["job:ask", "in.csv"], "prompt,answer\n1,2\n", "there is a field 'answer' already: say --answer-field NAME"),
        (["job:ask", "in.jsonl"], '{"prompt": 1, "error": 2}', "there is a field 'error' already: say --error-field NAME"),
        (["job:ask", "in.txt", "--answer-field", "error"], "a", "--answer-field and --error-field are both 'error'"),
        (["job:ask", "in.txt", "-o", "in.txt"], "a", "INPUT and OUTPUT are the same file: in.txt"),
        (["job:ask", "in.txt", "-o", "out", "--resume", "in.txt"], "a", "INPUT and --resume are the same file"),
        (["job:ask", "in.txt", "-o", "."], "a", ". cannot be written: it is a directory"),
        (["job:ask", "in.txt", "-o", "none/out"], "a", "none/out cannot be written: there is no directory "),
        (["job:ask", "in.txt", "-o", "out", "--resume", "x", "--no-resume"], "a", "--resume and --no-resume exclude each other"),
        (["job:ask", "in.txt", "--function-version", "2"], "a", "--function-version needs a journal"),
        (["job:ask", "in.txt", "--durable"], "a", "--durable needs a journal"),
        (["job:ask", "in.txt", "-o", "out", "--resume", "job.py"], "a", "job.py holds something else than fanmap's records: give --resume a path of its own"),
        (["job:ask", "in.txt", "--max-concurrency", "many"], "a", "must be a whole number above 0 or auto, got 'many'"),
        (["job:ask", "in.txt", "--retry", "0"], "a", "must be a whole number above 0 or off, got '0'"),
        (["job:ask", "in.txt", "--limit", "0"], "a", "must be a whole number above 0, got '0'"),
        (["job:ask", "in.txt", "--rpm", "nan"], "a", "must be a number above 0, got 'nan'"),
        (["job:ask", "in.txt", "--rpm", "0.5"], "a", "fanmap: "),
        (["job:ask"], "", "the following arguments are required: INPUT"),
    ],
)  # fmt: skip
def test_bad_use_is_one_line_and_nothing_is_called(run, words, text, said):
    for name in words[1:2]:
        if name.startswith("in."):
            put(name, text)
    status, out, error = run(*words)
    assert (status, out) == (2, "")
    assert is_one_line(error), error
    assert said in error
    assert "job" not in sys.modules or not calls()
    assert not Path("out").exists()


def test_a_module_that_fails_shows_its_traceback_from_its_own_lines_on(run):
    put("job.py", "import json\n\njson.loads('{')\n")
    status, _, said = run("job:ask", put("in.txt", "a"))
    assert (status, said.splitlines()[-1]) == (2, "fanmap: importing job failed, as shown above")
    assert said.splitlines()[1].endswith('job.py", line 3, in <module>')
    put("other.py", "import job_that_is_not_there")
    status, _, said = run("other:ask", "in.txt")
    assert (status, "No module named 'job_that_is_not_there'" in said) == (2, True)


def test_a_module_that_ends_the_program_is_told_so(run):
    put("job.py", "import sys\nsys.exit(0)\n")
    status, _, said = run("job:ask", put("in.txt", "a"))
    assert (status, is_one_line(said), "if __name__ == '__main__'" in said) == (2, True, True)


# Options


def test_fields_of_the_output_can_have_other_names(run):
    put("in.csv", "prompt,answer,error\na,b,c\n")
    _, out, _ = run("job:ask", "in.csv", "--answer-field", "new", "--error-field", "why")
    assert rows(out) == [{"prompt": "a", "answer": "b", "error": "c", "new": "<a>", "why": None}]


def test_a_trial_takes_the_first_rows_and_the_rest_comes_later(run):
    put("in.txt", "a\nb\nc\n")
    assert run("job:ask", "in.txt", "-o", "out.jsonl", "--limit", "2")[0] == 0
    assert (len(rows(got("out.jsonl"))), calls()) == (2, ["a", "b"])
    _, _, said = run("job:ask", "in.txt", "-o", "out.jsonl")
    assert (len(rows(got("out.jsonl"))), calls()) == (3, ["a", "b", "c"])
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


def test_the_deadline_leaves_the_output_and_keeps_what_was_answered(run):
    put("job.py", "import time\n\ndef slow(prompt):\n    time.sleep(0 if prompt < '2' else 0.4)\n    return prompt\n")
    put("in.txt", "".join(f"{n}\n" for n in range(9)))
    status, _, said = run("job:slow", "in.txt", "-o", "out.jsonl", "--deadline", "0.3", "--max-concurrency", "2")
    assert (status, Path("out.jsonl").exists()) == (1, False)
    assert "fanmap: stopped by the deadline of 0.3 s\n" in said
    assert "5 not run" in said
    assert [row["answer"] for row in rows(got("out.jsonl.partial"))] == ["0", "1"]
    assert run("job:slow", "in.txt", "-o", "out.jsonl")[0] == 0
    assert [row["answer"] for row in rows(got("out.jsonl"))] == list("012345678")
    assert not Path("out.jsonl.partial").exists()


# Failures, and what is kept


def test_failures_are_listed_by_index_line_and_kind_without_what_they_say(run):
    put("in.txt", "good\n\n" + "bad secret\n" * 30)
    status, _, said = run("job:ask", "in.txt", "-o", "out.jsonl")
    lines = said.splitlines()
    assert (status, "secret" in said) == (1, False)
    assert lines[:2] == ["fanmap: 30 failed", "  item 1 (line 3): ValueError"]
    assert lines[20:22] == ["  item 20 (line 22): ValueError", "  and 10 more"]
    assert lines[22] == "fanmap: the same command again calls for these only"
    assert lines[23] == "1 answered, 0 resumed, 30 failed (30 ValueError)"
    assert rows(got("out.jsonl"))[1] == {"input": "bad secret", "answer": None, "error": "ValueError: no: bad secret"}


def test_the_same_command_again_calls_only_for_what_failed(run):
    put("in.txt", "a\nbad\nb\n")
    assert run("job:ask", "in.txt", "-o", "out.csv")[0] == 1
    first = got("out.csv")
    assert run("job:ask", "in.txt", "-o", "out.csv")[0] == 1
    assert (sorted(calls()), got("out.csv")) == (["a", "b", "bad", "bad"], first)


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


def test_standard_output_can_have_a_journal(run):
    put("in.txt", "a\n")
    assert run("job:ask", "in.txt", "--resume", "kept")[1] == run("job:ask", "in.txt", "-o", "-", "--resume", "kept")[1]
    assert calls() == ["a"]


def test_without_a_journal_what_an_earlier_run_left_is_not_overwritten(run):
    put("in.txt", "a\n")
    put("out.jsonl.partial", "precious")
    status, _, said = run("job:ask", "in.txt", "-o", "out.jsonl", "--no-resume")
    assert (status, is_one_line(said), got("out.jsonl.partial")) == (2, True, "precious")
    assert "out.jsonl.partial is there, with the answers of a run that was cut short" in said


def test_a_server_that_refuses_the_key_stops_the_run_and_the_output_stays(run):
    put("in.txt", "".join(f"{n}\n" for n in range(100)))
    put("out.jsonl", "before")
    status, _, said = run("job:locked", "in.txt", "-o", "out.jsonl", "--max-concurrency", "2")
    assert (status, got("out.jsonl")) == (1, "before")
    assert "fanmap: stopped by Fatal\n" in said
    assert "sk-secret" not in said
    assert len(calls()) <= 20


@pytest.mark.skipif(sys.platform == "win32", reason="links and modes of POSIX")
def test_a_link_stays_a_link_and_the_mode_stays_the_mode(run):
    put("in.txt", "a\n")
    put("real.jsonl", "")
    Path("real.jsonl").chmod(0o640)
    Path("out.jsonl").symlink_to("real.jsonl")
    assert run("job:ask", "in.txt", "-o", "out.jsonl")[0] == 0
    assert Path("out.jsonl").is_symlink()
    assert (len(rows(got("real.jsonl"))), Path("real.jsonl").stat().st_mode & 0o777) == (1, 0o640)


@pytest.mark.skipif(sys.platform == "win32", reason="devices of POSIX")
def test_a_device_is_written_to_and_never_replaced(run):
    assert run("job:ask", put("in.txt", "a\n"), "-o", "/dev/null")[0] == 0
    assert Path("/dev/null").is_char_device()


# A disk that is full


class Full(io.FileIO):
    def flush(self):
        if self.tell() > 60:
            raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_is_full_loses_nothing(run, monkeypatch):
    put("in.txt", "a\nb\nc\n")
    put("out.jsonl", "before")
    with monkeypatch.context() as patch:
        patch.setattr(output_module, "open", lambda path, mode: Full(path, mode), raising=False)
        status, _, said = run("job:ask", "in.txt", "-o", "out.jsonl")
    assert (status, got("out.jsonl")) == (1, "before")
    assert "fanmap: out.jsonl cannot be written: No space left on device\n" in said
    assert "answers are kept in out.jsonl.journal, out.jsonl is untouched: the same command goes on" in said
    asked = len(calls())
    assert run("job:ask", "in.txt", "-o", "out.jsonl")[0] == 0
    assert len(rows(got("out.jsonl"))) == len(calls()) == 3
    assert asked >= 2


def test_a_journal_that_cannot_be_written_ends_the_run(run, monkeypatch):
    from fanmap._drive.journal import Journal

    def full(self, line):
        raise OSError(errno.ENOSPC, "No space left on device")

    put("in.txt", "".join(f"{n}\n" for n in range(100)))
    monkeypatch.setattr(Journal, "_write", full)
    status, _, said = run("job:ask", "in.txt", "-o", "out.jsonl", "--max-concurrency", "1")
    assert (status, Path("out.jsonl").exists()) == (1, False)
    assert "fanmap: out.jsonl.journal cannot be written: No space left on device\n" in said
    assert len(calls()) == 1


def test_a_journal_in_use_is_one_line(run):
    from fanmap._drive.journal import Journal

    journal = Journal("out.jsonl.journal", durable=False)
    status, _, said = run("job:ask", put("in.txt", "a\n"), "-o", "out.jsonl")
    journal.close()
    assert (status, is_one_line(said), "is in use by another run" in said) == (2, True, True)
    assert not Path("out.jsonl.partial").exists()


# Memory


def test_a_long_input_is_read_as_it_is_needed(run, monkeypatch):
    most = 0
    hear = job_module.Report.hear

    def heard(self, row, error):
        nonlocal most
        most = max(most, len(jobs[0]._rows.taken))
        return hear(self, row, error)

    jobs = []
    made = job_module.Job.__init__
    monkeypatch.setattr(job_module.Job, "__init__", lambda self, *rest: (jobs.append(self), made(self, *rest))[1])
    monkeypatch.setattr(job_module.Report, "hear", heard)
    put("in.txt", "".join(f"{n}\n" for n in range(3000)))
    assert run("job:ask", "in.txt", "-o", "out.jsonl")[0] == 0
    assert len(rows(got("out.jsonl"))) == 3000
    assert most <= 8 * 8
