"""`fanmap run`: every answer that can be JSON is written as it, and one that cannot is an error of its row."""

from __future__ import annotations

import json
import sys

import pytest

from .tools import JOB, calls, got, put, rows

KINDS = """
import collections, dataclasses, datetime, decimal, enum, fractions, pathlib, uuid, typing

CALLS = []

class Text(str):
    def __str__(self):
        return "not this"

class Number(float):
    pass

class Colour(str, enum.Enum):
    RED = "red"

class Level(enum.IntEnum):
    HIGH = 3

class Plain(enum.Enum):
    ONE = (1, 2)

class Pair(typing.NamedTuple):
    label: str
    score: float

@dataclasses.dataclass
class Inner:
    when: datetime.date

@dataclasses.dataclass
class Outer:
    inner: list[Inner]
    left: int = dataclasses.field(init=False, default=7)

class Array:
    def tolist(self):
        return [[1.5, float("nan")], [2, 3]]

class Loud:
    @property
    def __dataclass_fields__(self):
        raise RuntimeError("sk-secret")

ITSELF = []
ITSELF.append(ITSELF)

ANSWERS = {
    "text": Text("hi"),
    "float": Number(0.5),
    "enum": Colour.RED,
    "int enum": [Level.HIGH, True],
    "plain enum": Plain.ONE,
    "tuple": ("spam", 0.9),
    "named": Pair("spam", 0.9),
    "dataclass": Outer([Inner(datetime.date(2026, 1, 2))]),
    "array": Array(),
    "nan": float("nan"),
    "infinity within": {"a": [float("-inf"), 1.0]},
    "keys": {1: "a", None: "b", Colour.RED: "c", True: "d", 2.5: "e"},
    "mapping": collections.ChainMap({"a": 1}),
    "deque": collections.deque([1]),
    "range": range(2),
    "decimal": decimal.Decimal("0.10"),
    "fraction": fractions.Fraction(1, 2),
    "path": pathlib.PurePosixPath("a/b"),
    "uuid": uuid.UUID(int=1),
    "time": datetime.datetime(2026, 1, 2, 3, 4),
    "pair of surrogates": "\\ud83d\\ude00",
    "half a pair": "\\ud83d",
    "set": {"labels": {"secret"}},
    "bytes": b"secret",
    "itself": ITSELF,
    "class": Inner,
    "two keys": {1: "a", "1": "b"},
    "key": {(1, 2): "a"},
    "digits": 10 ** 5000,
}

def answer(prompt):
    CALLS.append(prompt)
    return ANSWERS[prompt]

def annotated(prompt) -> str:
    return answer(prompt)
"""
AS_JSON = {
    "text": "hi",
    "float": 0.5,
    "enum": "red",
    "int enum": [3, True],
    "plain enum": [1, 2],
    "tuple": ["spam", 0.9],
    "named": ["spam", 0.9],
    "dataclass": {"inner": [{"when": "2026-01-02"}], "left": 7},
    "array": [[1.5, None], [2, 3]],
    "nan": None,
    "infinity within": {"a": [None, 1.0]},
    "keys": {"1": "a", "null": "b", "red": "c", "2.5": "e"},
    "mapping": {"a": 1},
    "deque": [1],
    "range": [0, 1],
    "decimal": "0.10",
    "fraction": 0.5,
    "path": "a/b",
    "uuid": "00000000-0000-0000-0000-000000000001",
    "time": "2026-01-02T03:04:00",
    "pair of surrogates": "\U0001f600",
    "half a pair": "\ud83d",
}
ERRORS = {
    "set": "set inside dict is not JSON-serializable",
    "bytes": "bytes is not JSON-serializable",
    "itself": "list is nested too deeply, or contains itself",
    "class": "type is not JSON-serializable",
    "two keys": "two keys that are the same in JSON",
    "key": "a dict with a key of type tuple",
    "digits": "int with too many digits is not JSON-serializable",
}


def of(answer_or_error: dict[str, object]) -> str:
    return "".join(f"{name}\n" for name in answer_or_error)


@pytest.mark.parametrize("function", ["answer", "annotated"])
def test_an_answer_is_written_alike_with_a_journal_without_one_and_resumed(run, function):
    put("job.py", KINDS.replace(', True: "d"', ""))
    put("in.txt", of(AS_JSON))
    status, out, _ = run(f"job:{function}", "in.txt")
    assert status == 0
    assert {row["input"]: row["answer"] for row in rows(out)} == AS_JSON
    for more in (["--no-resume"], [], []):
        assert run(f"job:{function}", "in.txt", "-o", "out.jsonl", *more)[0] == 0
        assert got("out.jsonl") == out
    assert len(calls()) == 3 * len(AS_JSON)


@pytest.mark.parametrize("more", [[], ["-o", "out.jsonl"], ["-o", "out.jsonl", "--no-resume"], ["-o", "out.csv"]])
def test_an_answer_that_has_no_json_is_an_error_of_its_row_and_the_run_goes_on(run, more):
    put("job.py", KINDS)
    put("in.txt", "text\n" + of(ERRORS) + "enum\n")
    status, out, said = run("job:answer", "in.txt", *more)
    written = got(more[1]) if more else out
    assert status == 1
    for text in ERRORS.values():
        assert f"AnswerNotJson: {text}" in written or text in written
    assert "secret" not in written + said
    assert f"fanmap: {len(ERRORS)} failed\n  item 1 (line 2): AnswerNotJson\n" in said
    assert f"2 answered, 0 resumed, {len(ERRORS)} failed ({len(ERRORS)} AnswerNotJson)" in said
    if ".csv" not in str(more):
        assert {row["input"]: row["answer"] for row in rows(written) if not row["error"]} == {
            "text": "hi",
            "enum": "red",
        }


def test_it_is_asked_for_again_once_the_function_is_mended_and_nothing_else_is(run):
    put("job.py", KINDS)
    put("in.txt", "text\nset\nenum\n")
    _, _, said = run("job:answer", "in.txt", "-o", "out.jsonl")
    again = "change what job:answer returns (see the field 'error'), then rerun the same command to retry only these"
    assert f"fanmap: {again}\n" in said
    put("job.py", KINDS.replace('{"labels": {"secret"}}', '{"labels": ["mended"]}'))
    del sys.modules["job"]
    status, _, said = run("job:answer", "in.txt", "-o", "out.jsonl")
    assert (status, calls()) == (0, ["set"])
    assert "1 answered, 2 resumed, 0 failed" in said
    assert rows(got("out.jsonl"))[1]["answer"] == {"labels": ["mended"]}


def test_what_the_journal_says_of_it_quotes_nothing(run):
    put("job.py", KINDS)
    run("job:answer", put("in.txt", "set\n"), "-o", "out.jsonl")
    kept = json.loads(got("out.jsonl.journal"))
    assert kept["error"] == "fanmap._run.answers.AnswerNotJson"
    assert "secret" not in got("out.jsonl.journal")


def test_not_a_number_never_leaves_as_invalid_json_where_it_came_in(run):
    put("in.jsonl", '{"prompt": "a", "x": NaN, "y": [1e999, -Infinity]}\n{"prompt": NaN}\n')
    for name in ("out.jsonl", "out.csv"):
        assert run("job:ask", "in.jsonl", "-o", name)[0] == 0
        assert "nan" not in got(name).lower().replace("<nan>", "")
        assert "infinity" not in got(name).lower()
    assert rows(got("out.jsonl"))[0]["y"] == [None, None]


def test_models_are_written_as_their_own_json_mode_has_it(run):
    pytest.importorskip("pydantic")
    put(
        "job.py",
        "import datetime, pydantic\n"
        "class Out(pydantic.BaseModel):\n"
        "    label: str = pydantic.Field(alias='the label')\n"
        "    when: datetime.date = datetime.date(2026, 1, 2)\n"
        "    score: float = float('nan')\n"
        "def parsed(prompt): return [Out(**{'the label': prompt})]\n",
    )
    status, out, _ = run("job:parsed", put("in.txt", "a\n"))
    assert (status, rows(out)[0]["answer"]) == (0, [{"the label": "a", "when": "2026-01-02", "score": None}])


def test_fields_of_attrs_and_msgspec_classes(run):
    put(
        "job.py",
        "import types\n"
        "class A:\n"
        "    __attrs_attrs__ = (types.SimpleNamespace(name='x'),)\n"
        "    x = 1\n"
        "class S:\n"
        "    __struct_fields__ = ('y',)\n"
        "    y = (2,)\n"
        "def both(prompt): return [A(), S()]\n",
    )
    assert rows(run("job:both", put("in.txt", "a\n"))[1])[0]["answer"] == [{"x": 1}, {"y": [2]}]


def test_an_answer_may_be_none(run):
    assert rows(run("job:nothing", put("in.txt", "a\n"))[1]) == [{"input": "a", "answer": None, "error": None}]


def test_an_answer_that_an_earlier_form_of_the_function_gave_is_written_as_it_was(run):
    put("in.txt", "abc\n")
    run("job:dressed", "in.txt", "-o", "out.jsonl")
    first = got("out.jsonl")
    put("job.py", JOB.replace("size: int", "size: int\n    colour: str"))
    del sys.modules["job"]
    status, _, said = run("job:dressed", "in.txt", "-o", "out.jsonl")
    assert (status, got("out.jsonl"), "1 resumed" in said) == (0, first, True)


def test_what_the_function_prints_is_not_among_the_rows(run):
    _, out, said = run("job:printing", put("in.txt", "a\n"))
    assert rows(out) == [{"input": "a", "answer": "a", "error": None}]
    assert "from the function" in said
