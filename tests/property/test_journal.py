"""Whatever happens to a journal's bytes: no wrong result, and nothing lost that is whole."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanmap._drive.journals.journal import Journal
from fanmap._errors import JournalError
from fanmap._policy.journals.canonical import canonical
from fanmap._policy.journals.journal import Keys, Reading, error_line, read_line, value_line
from fanmap._policy.journals.plain import plain_text

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def journal(values):
    """The bytes of a journal, and what each key holds."""
    keys = Keys("module.ask", None)
    lines, held = [], {}
    for index, value in enumerate(values):
        key = keys.key((index % 3,), {})
        held[key] = value
        lines.append(error_line(key, index, 1.0, 0.1, ValueError("later")) if index % 4 == 3 else b"")
        lines.append(value_line(key, index, 1.0, 0.5, plain_text(value)))
    return [line for line in lines if line], held


def results(data):
    """What a file with these bytes is believed to hold, and the reading."""
    reading = Reading()
    for line in data.splitlines(keepends=True) if b"\r" not in data else data_lines(data):
        reading.add(line)
    found = {}
    for key, place in reading.places.items():
        line = data[place:].split(b"\n", 1)[0] + b"\n"
        said = read_line(line)
        assert said is not None
        found[key] = said["value"]
    return found, reading


def data_lines(data):
    *whole, last = data.split(b"\n")
    return [line + b"\n" for line in whole] + ([last] if last else [])


@given(st.lists(json_values, max_size=6))
def test_every_result_comes_back(values):
    lines, held = journal(values)
    data = b"".join(lines)
    found, reading = results(data)
    assert found == held
    assert repr(found) == repr(held)  # True is not 1, 1 is not 1.0
    assert (reading.skipped, reading.end, reading.foreign) == (0, len(data), False)


@given(json_values, json_values)
def test_two_inputs_have_one_key_only_where_they_are_one_value(one, other):
    first, second = Keys("ask", None).key((one,), {}), Keys("ask", None).key((other,), {})
    assert (first == second) == (
        json.dumps(canonical(one), sort_keys=True) == json.dumps(canonical(other), sort_keys=True)
    )


VALUES = ["plain", "ü漢🎈 \n", None, {"a": [1, 2.5]}, "", 7, "x" * 100]
LINES, HELD = journal(VALUES)
WHOLE = b"".join(LINES)


def test_every_prefix_is_recovered_and_the_next_record_is_never_lost(tmp_path):
    """A kill, a full disk or a power failure may leave any beginning of the file."""
    path = tmp_path / "journal"
    ends = [sum(map(len, LINES[: count + 1])) for count in range(len(LINES))]
    for length in range(len(WHOLE) + 1):
        path.write_bytes(WHOLE[:length])
        opened = Journal(str(path), durable=False)
        complete = {}
        for line, end in zip(LINES, ends, strict=True):
            said = json.loads(line)
            if end - 1 <= length and "value" in said:  # all of it but perhaps its newline
                complete[said["key"]] = said["value"]
        assert {key: opened.find(key)["value"] for key in complete} == complete
        assert len(opened) == len(complete)
        opened.append(value_line("next", 99, 1.0, 0.0, '"kept"'))
        opened.close()
        again = Journal(str(path), durable=False)
        assert again.find("next")["value"] == "kept"
        assert len(again) == len(complete) + 1
        assert again.skipped == 0
        again.close()


def flip_bits(rounds, seed):
    chance = random.Random(seed)
    for _ in range(rounds):
        place, bit = chance.randrange(len(WHOLE)), chance.randrange(8)
        data = bytearray(WHOLE)
        data[place] ^= 1 << bit
        found, reading = results(bytes(data))
        for key, value in found.items():
            assert key in HELD, (place, bit)
            assert repr(value) == repr(HELD[key]), (place, bit)
        # One flip costs one line, or two where it was the newline between them.
        assert len(found) >= len(HELD) - 2, (place, bit)
        assert reading.skipped or reading.end < len(WHOLE) or found == HELD, (place, bit)


def test_a_flipped_bit_never_gives_a_wrong_result():
    flip_bits(4_000, seed=1)


@pytest.mark.nightly
def test_a_hundred_thousand_flipped_bits_never_give_a_wrong_result():
    flip_bits(100_000, seed=2)


@given(st.binary(max_size=200))
def test_any_other_bytes_are_an_error_or_hold_nothing(data):
    try:
        found, reading = results(data)
    except RecursionError:
        raise
    assert found == {}
    assert reading.foreign or data == b"" or b'{"v":1,"key":"'.startswith(data)


def test_a_foreign_file_is_left_as_it_is(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("my notes\nno newline at the end")
    with pytest.raises(JournalError, match="is not a fanmap journal"):
        Journal(str(path), durable=False)
    assert path.read_text() == "my notes\nno newline at the end"
