"""`fanmap trace`: the last run of a journal, drawn from its lines."""

from __future__ import annotations

import json

import pytest

from fanmap import parallel_map
from fanmap.__main__ import main
from fanmap._policy.journals.journal import _sealed, error_line, value_line
from fanmap._policy.trace.events import trace_json
from fanmap._policy.trace.kept import story_of_journal
from fanmap._policy.trace.log import Fate
from fanmap._policy.trace.sentence import sentence

from .tools import got, put


def line(index, began, seconds, error=None):
    if error is not None:
        return error_line(f"{index:032x}", index, 1000.0 + began, seconds, error)
    return value_line(f"{index:032x}", index, 1000.0 + began, seconds, '"sk-secret"')


def test_calls_are_as_their_lines_say_and_the_most_at_once_is_the_ceiling():
    story = story_of_journal("kept.jsonl", [line(1, 2.0, 4.0), line(0, 0.0, 3.0), line(2, 3.0, 1.0, ValueError("no"))])
    assert story is not None
    assert [(one.item, one.began, round(one.ended, 3), one.fate) for one in story.spans] == [
        (0, 0.0, 2.998, Fate.RETURNED), (1, 2.0, 5.998, Fate.RETURNED), (2, 3.0, 3.998, Fate.FAILED),
    ]  # fmt: skip
    assert (story.began, story.most, story.ceiling) == (1000.0, 2, [(0.0, 2)])
    assert dict(story.totals.kinds) == {"ValueError": 1}
    assert sentence(story, {}) == "3 calls in 6.0 s, 2 at once at most; the slowest was item 1 with 4.0 s."


def test_what_came_more_than_five_minutes_before_was_another_run():
    story = story_of_journal("kept.jsonl", [line(0, 0.0, 3.0), line(1, 400.0, 1.0), line(2, 600.0, 1.0)])
    assert story is not None
    assert ([one.item for one in story.spans], story.earlier, story.began) == ([1, 2], 1, 1400.0)


@pytest.mark.parametrize("torn", [b"", b"no record\n", b'{"v":1,"key":"9f'])
def test_lines_that_cannot_be_believed_are_no_calls(torn):
    assert story_of_journal("kept.jsonl", [torn]) is None
    story = story_of_journal("kept.jsonl", [line(0, 0.0, 3.0), torn])
    assert story is not None
    assert len(story.spans) == 1


@pytest.mark.parametrize(
    "fields",
    ['"index":-1,"began":1000.000,"seconds":1.000', '"index":1,"began":NaN,"seconds":1.000', '"index":1,"began":1000.000,"seconds":1e999',
     '"index":"1","began":1000.000,"seconds":1.000', '"index":1,"began":1e300,"seconds":1.000', '"index":1,"began":7,"seconds":1.000', '"index":1'],
)  # fmt: skip
def test_a_line_with_numbers_that_cannot_be_is_no_call(fields):
    forged = _sealed(f'{{"v":1,"key":"{1:032x}",{fields},"value":1')
    assert story_of_journal("kept.jsonl", [forged]) is None
    story = story_of_journal("kept.jsonl", [forged, line(0, 0.0, 3.0)])
    assert story is not None and len(story.spans) == 1
    json.loads(trace_json(story), parse_constant=pytest.fail)


def test_the_journal_of_a_run_is_drawn_as_a_page_and_as_trace_events(run, capsys):
    ask = parallel_map(max_concurrency=2)(lambda item: item)
    ask.map(["sk-a", "sk-b", "sk-c"], resume="kept.jsonl")
    assert main(["trace", "kept.jsonl"]) == 0
    assert capsys.readouterr().err == "fanmap: 3 calls drawn in kept.jsonl.html\n"
    assert "a run of kept.jsonl" in got("kept.jsonl.html")
    assert "sk-" not in got("kept.jsonl.html")
    assert main(["trace", "kept.jsonl", "-o", "run.json"]) == 0
    assert len([one for one in json.loads(got("run.json"))["traceEvents"] if one.get("cat") == "call"]) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing.jsonl"], "fanmap: nothing.jsonl cannot be read: No such file or directory\n"),
        (["in.txt"], "fanmap: in.txt has no fanmap records: give the file of resume=\n"),
        (["in.txt", "-o", "run.pdf"], "fanmap: -o must end in .html or .json, got 'run.pdf'\n"),
        (["in.json", "-o", "in.json"], "fanmap: JOURNAL and -o are the same file: in.json\n"),
        (["kept.jsonl", "-o", "nowhere/run.html"], "fanmap: nowhere/run.html: trace cannot be written: its folder does not exist\n"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(words, said, run, capsys):
    put("in.txt", "a\n")
    put("in.json", "a\n")
    parallel_map()(lambda item: item).map([1], resume="kept.jsonl")
    assert main(["trace", *words]) in (1, 2)
    assert capsys.readouterr().err == said
    assert got("in.json") == "a\n"
