"""`fanmap run`: which field goes to which parameter."""

from __future__ import annotations

import json
import sys

import pytest

from .tools import got, put, rows


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


ODD = """
import functools
from fanmap import parallel_map

def first(prompt, n=1, /, *, k="k", z="z"):
    return [prompt, n, k, z]

def gaps(prompt, n=1, m=2, /):
    return [prompt, n, m]

async def waits(prompt, /):
    return prompt

def words(prompt, n=2, /):
    yield from [prompt] * n

async def awaited_words(prompt, n=2, /):
    for word in [prompt] * n:
        yield word

def rest(*args, **kwargs):
    return [list(args), kwargs]

@parallel_map(max_concurrency=3)
def decorated(prompt, /, n=2):
    return [prompt, n]

class Client:
    def ask(self, prompt, /):
        return prompt
    def __call__(self, prompt, /, k=1):
        return [prompt, k]

client = Client()
fixed = functools.partial(first, "fixed")
"""


@pytest.mark.parametrize(
    ("function", "fields", "mapping", "answer"),
    [
        ("first", {"prompt": "a", "z": "b", "other": 1}, [], ["a", 1, "k", "b"]),
        ("first", {"q": "a", "m": "b"}, ["q=prompt", "m=k"], ["a", 1, "b", "z"]),
        ("first", {"q": "a", "m": "b"}, ["q=prompt", "m=n"], ["a", "b", "k", "z"]),
        ("first", {"question": "a"}, [], ["a", 1, "k", "z"]),
        ("gaps", {"prompt": "a", "m": 5}, [], ["a", 1, 5]),
        ("waits", {"q": "a", "id": 1}, ["q=prompt"], "a"),
        ("words", {"q": "a", "m": 3}, ["q=prompt", "m=n"], ["a", "a", "a"]),
        ("awaited_words", {"q": "a", "m": 1}, ["q=prompt", "m=n"], ["a"]),
        ("decorated", {"q": "a", "m": 5}, ["q=prompt", "m=n"], ["a", 5]),
        ("decorated", {"prompt": "a"}, [], ["a", 2]),
        ("client.ask", {"q": "a", "id": 1}, ["q=prompt"], "a"),
        ("client", {"q": "a", "id": 1}, ["q=prompt"], ["a", 1]),
        ("fixed", {"q": "a", "id": 1}, ["q=n"], ["fixed", "a", "k", "z"]),
        ("rest", {"q": "a", "id": 1}, ["q=anything"], [[], {"anything": "a"}]),
        ("rest", {"q": "a"}, [], [["a"], {}]),
    ],
)
def test_functions_that_take_their_arguments_in_odd_ways(run, function, fields, mapping, answer):
    put("job.py", ODD)
    put("in.jsonl", json.dumps(fields) + "\n")
    words = [word for one in mapping for word in ("--map", one)]
    for more in ([], ["-o", "out.jsonl"], ["-o", "out.jsonl"]):
        status, _, said = run(f"job:{function}", "in.jsonl", *words, *more)
        assert status == 0, said
    assert "1 resumed" in said
    assert rows(got("out.jsonl"))[0]["answer"] == answer


def test_what_is_kept_is_kept_under_the_functions_own_name(run):
    put("job.py", ODD)
    put("in.txt", "a\n")
    run("job:first", "in.txt", "-o", "out.jsonl")
    put("job.py", ODD.replace("n=1, /, *", "n=1, *"))
    del sys.modules["job"]
    assert "1 resumed" in run("job:first", "in.txt", "-o", "out.jsonl")[2]
