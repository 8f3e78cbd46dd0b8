"""`fanmap run`, pure parts: whatever comes in or out, what is written is valid, and reads back as it was."""

from __future__ import annotations

import csv
import io
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanmap._run.answers import AnswerNotJson, to_json
from fanmap._run.rows_in import Row
from fanmap._run.rows_out import Csv, JsonLines
from fanmap._run.texts import texts

LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(), max_size=8),
    st.binary(max_size=2), st.decimals(), st.fractions(), st.dates(), st.uuids(),
)  # fmt: skip
KEYS = st.one_of(st.text(max_size=4), st.integers(), st.none(), st.booleans(), st.floats(), st.tuples())
ANSWERS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.frozensets(st.integers(), max_size=2),
        st.dictionaries(KEYS, inner, max_size=3),
    ),
    max_leaves=8,
)
# What JSONL and CSV hand over: no half of a surrogate pair, no NUL.
TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)
NAMES = st.lists(TEXT.filter(lambda name: name not in ("answer", "error")), min_size=1, max_size=3, unique=True)


@given(ANSWERS)
def test_an_answer_is_valid_json_that_reads_back_the_same_or_is_an_error(answer):
    try:
        plain = to_json(answer)
    except AnswerNotJson as error:
        assert str(error)
        return
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert to_json(plain) == plain


@given(
    st.dictionaries(st.sampled_from("xyz"), st.one_of(st.floats(), TEXT, st.lists(st.floats(), max_size=2))), ANSWERS
)
def test_a_line_of_json_is_one_line_of_valid_json(fields, answer):
    try:
        plain = to_json(answer)
    except AnswerNotJson:
        plain = None
    line = JsonLines("answer", "error", "in").line(Row(1, fields), plain, None)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1

    def never(constant):
        raise AssertionError(constant)

    read = json.loads(line, parse_constant=never)
    assert list(read) == [*fields, "answer", "error"]
    assert read["answer"] == plain


@given(NAMES, st.data(), st.sampled_from([",", ";", "\t", "|"]), st.booleans())
def test_a_record_of_csv_reads_back_cell_by_cell(names, data, delimiter, safe):
    values = data.draw(st.lists(TEXT, min_size=len(names), max_size=len(names)))
    answer, error = data.draw(TEXT), data.draw(st.one_of(st.none(), TEXT.map(ValueError)))
    table = Csv("answer", "error", "in", delimiter=delimiter, safe=safe)
    row = Row(1, dict(zip(names, values, strict=True)))
    table.admit(row)
    text = (table.begin() + table.line(row, answer, error)).decode()
    header, record = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    assert header == [*names, "answer", "error"]
    assert record[:-2] == values
    assert record[-2] in (answer, f"'{answer}")
    if safe:
        assert not record[-2].startswith(tuple("=+-@\t\r\n"))


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\n\ufeff"), max_size=20)))
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-be"])
def test_text_is_read_line_by_line_whatever_its_bytes_look_like(encoding, lines):
    text = "\n".join(lines)
    data = (b"\xfe\xff" if encoding == "utf-16-be" else b"") + text.encode(encoding)
    chunks = data.split(b"\n")
    ended = [*(chunk + b"\n" for chunk in chunks[:-1]), *([chunks[-1]] if chunks[-1] else [])]
    if encoding == "utf-8" and data[:6] and _looks_like_no_text(data):
        return
    assert "".join(texts(ended, "in")) == text
    assert all(line.endswith("\n") for line in list(texts(ended, "in"))[:-1])


def _looks_like_no_text(data: bytes) -> bool:
    return data.startswith((b"PK\x03\x04", b"PAR1", b"BZh"))


def test_a_float_that_is_not_finite_is_null_at_any_depth():
    assert to_json([math.nan, {"a": (math.inf, -math.inf)}]) == [None, {"a": [None, None]}]
