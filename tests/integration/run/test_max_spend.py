"""`fanmap run --max-spend`: the money is counted, the run stops and says by what, and a larger amount goes on."""

from __future__ import annotations

import json

import pytest

from .tools import calls, got, put, rows

PRICED = """
from fanmap import Limits, Rate, parallel_map
import math

CALLS = []
ACCOUNT = Limits(2, price=lambda model, usage: usage.total / 100)
OWN = Limits(2, rate=Rate(2, math.inf))

def reply(prompt):
    CALLS.append(prompt)
    return {"text": prompt, "model": "small", "usage": {"prompt_tokens": 1, "completion_tokens": 4}}

plain = reply
ask = parallel_map(limits=ACCOUNT)(reply)
own = parallel_map(limits=OWN)(reply)

@parallel_map(limits=Limits(2, shared="fanmap-tests-max-spend"))
def shared(prompt):
    return reply(prompt)

@parallel_map(limits=Limits(2, max_spend=100.0, price=lambda model, usage: 1 / 0))
def broken(prompt):
    return reply(prompt)
"""


@pytest.fixture(autouse=True)
def _job():
    put("job.py", PRICED)
    put("in.txt", "".join(f"{number}\n" for number in range(8)))


def test_it_stops_and_a_larger_amount_goes_on(run):
    status, _, said = run("job:ask", "in.txt", "-o", "out.jsonl", "--max-spend", "0.2")
    assert (status, len(calls())) == (1, 4)
    assert "fanmap: stopped by --max-spend 0.2: $0.2000 spent, and one more call would exceed it\n" in said
    assert "with a larger --max-spend, rerun the same command to resume" in said
    assert "$0.2000 spent" in said.splitlines()[-1]
    assert run("job:ask", "in.txt", "-o", "out.jsonl", "--max-spend", "0.2")[0] == 1
    assert len(calls()) == 4
    status, _, said = run("job:ask", "in.txt", "-o", "out.jsonl", "--max-spend", "0.4")
    assert (status, len(calls())) == (0, 8)
    assert [row["error"] for row in rows(got("out.jsonl"))] == [None] * 8
    assert [json.loads(line)["cost"] for line in got("out.jsonl.journal").splitlines()] == [0.05] * 8


def test_the_function_keeps_its_other_limits_and_its_price(run):
    _, _, said = run("job:ask", "in.txt", "--max-spend", "0.2", "--limit", "2")
    assert "instead of its own limits" not in said
    assert "10 tokens: 2 in, 8 out\n$0.1000 spent" in said
    _, _, said = run("job:ask", "in.txt", "--max-spend", "0.2", "--rpm", "6000", "--limit", "2")
    assert "runs under --rpm 6000.0 instead of its own limits" in said
    assert "$0.1000 spent" in said


def test_a_price_that_is_none_is_said_without_what_it_raised(run):
    status, _, said = run("job:broken", "in.txt", "--max-spend", "5")
    assert (status, calls()) == (1, ["0"])
    assert "fanmap: stopped by --max-spend: price raised ZeroDivisionError for the model 'small'\n" in said


def test_a_model_without_a_price_is_said_with_what_to_write_in_the_job(run):
    status, _, said = run("job:plain", "in.txt", "--max-spend", "5")
    assert (status, calls()) == (1, ["0"])
    assert (
        "fanmap: stopped by --max-spend: genai-prices has no price for the model 'small': decorate the function with "
        "@parallel_map(limits=Limits(price=...)), price(model, usage) -> dollars\n"
    ) in said


def test_a_total_of_the_functions_own_is_said(run):
    status, _, said = run("job:own", "in.txt")
    assert (status, len(calls())) == (1, 2)
    assert "fanmap: stopped by Rate(2, per=math.inf): 2 used, and one more call would exceed it\n" in said


@pytest.mark.parametrize("amount", ["0", "-1", "nan", "inf", "five"])
def test_an_amount_is_a_number_above_0(run, amount):
    status, _, said = run("job:ask", "in.txt", f"--max-spend={amount}")
    assert status == 2
    assert f"must be a number above 0, got {amount!r}" in said


def test_without_prices_it_says_what_to_install(run, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "genai_prices" else find(name))
    status, _, said = run("job:plain", "in.txt", "--max-spend", "5")
    assert status == 2
    assert said == (
        'fanmap: --max-spend needs prices: pip install "fanmap[prices]", or decorate the function with '
        "@parallel_map(limits=Limits(price=...))\n"
    )


def test_a_shared_limits_has_its_own(run):
    status, _, said = run("job:shared", "in.txt", "--max-spend", "5")
    assert (status, calls()) == (2, [])
    assert said == (
        "fanmap: max_spend cannot be added to a shared Limits: write it there, Limits(shared=..., max_spend=5.0)\n"
    )
