"""Whatever happens to a journal's file between runs and during them: right results, nothing paid for twice unasked.

Torn, doubled, interleaved, glued, flipped, deleted and foreign lines between the runs; a file that is deleted,
replaced, cut short or moved while one goes on.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fanmap import JournalError, parallel_map, partial_results
from fanmap._policy.journals.journal import Keys, error_line, read_line, value_line
from fanmap._policy.journals.plain import plain_text
from fanmap._resume import identity_of


@pytest.fixture(scope="module", autouse=True)
def directory():
    """One for all examples: a fixture of pytest's would be one for each test."""
    global here
    with tempfile.TemporaryDirectory() as made:
        here = Path(made)
        yield


here: Path


def answer(item):
    return {"item": item, "text": f"ü{item}\n\ud800"}


def asking(called, failing=(), event=None):
    @parallel_map(max_concurrency=1)
    def ask(item):
        called.append(item)
        if event is not None and len(called) == event[1]:
            event[0](str(here / "journal"))
        if item in failing:
            raise ValueError("no")
        return answer(item)

    ask._function.__qualname__ = "ask"
    return ask


def keys_of(inputs):
    keys = Keys(identity_of(asking([])._function), None)
    return [keys.key((item,), {}) for item in inputs]


def lines_of(inputs):
    """What a run over these writes, and some lines beside."""
    made = []
    for index, (item, key) in enumerate(zip(inputs, keys_of(inputs), strict=True)):
        if index % 3 == 1:
            made.append(error_line(key, index, 1.0, 0.5, ValueError("no")))
        made.append(value_line(key, index, 1.0, 0.5, plain_text(answer(item))))
    return made


OTHERS = [
    value_line("ab" * 16, 0, 1.0, 0.5, '"of another function"'),
    b'{"v":1,"key":"ab","kind":"batch","id":"b1","crc":"00000000"}\n',
    value_line("cd" * 16, 0, 1.0, 0.5, "1").replace(b'"value":1', b'"value":2'),
    b'{"v":2,"key":"ab","value":1}\n',
    b"\n",
    b"garbage\n",
    b'{"v":1,"key":"\n',
    b"\xff\xfe\x00\r\n",
]
items = st.lists(st.integers(0, 5), max_size=8)
positions = st.integers(0, 30)
changes = st.lists(
    st.tuples(st.sampled_from(["double", "delete", "swap", "insert", "glue", "flip", "split"]), positions, positions),
    max_size=6,
)


def changed(lines, what, one, other):
    """The lines after one change."""
    if what == "insert" or not lines:
        return [*lines[: one % (len(lines) + 1)], OTHERS[other % len(OTHERS)], *lines[one % (len(lines) + 1) :]]
    at, to = one % len(lines), other % len(lines)
    lines = list(lines)
    if what == "double":
        lines.insert(to, lines[at])
    elif what == "delete":
        del lines[at]
    elif what == "swap":
        lines[at], lines[to] = lines[to], lines[at]
    elif what == "glue":
        lines[at : at + 2] = [b"".join(line.rstrip(b"\n") for line in lines[at : at + 2]) + b"\n"]
    elif what == "split":
        lines[at : at + 1] = [lines[at][:other] + b"\n", lines[at][other:]]
    else:
        data = bytearray(lines[at] or b"\n")
        data[other % len(data)] ^= 1 << (one % 8)
        lines[at] = bytes(data)
    return lines


@given(items, items, changes, st.integers(0, 200), st.booleans())
def test_between_two_runs_a_file_may_be_changed_in_any_way(before, now, changes_of_lines, cut, torn):
    written = lines_of(before)
    lines = written
    for change in changes_of_lines:
        lines = changed(lines, *change)
    data = b"".join(lines)
    if torn:
        data = data[: max(0, len(data) - cut)]
    path = here / "journal"
    path.write_bytes(data)
    whole = data.split(b"\n")  # of the last one only the newline may be missing
    believed = [line for line in whole if line + b"\n" in written]
    results = {said["key"]: said["value"] for said in map(json.loads, believed) if "value" in said}
    foreign_lines = {OTHERS[0][:-1]}
    called = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = asking(called).map(now, resume=path)
        except JournalError as error:
            assert "is not a fanmap journal" in str(error)
            assert not believed
            assert not foreign_lines & set(whole)
            assert called == []
            assert path.read_bytes() == data
            return
    assert found == [answer(item) for item in now]
    assert called == [item for item, key in zip(now, keys_of(now), strict=True) if key not in results]
    called.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert asking(called).map(now, resume=path) == found
    assert called == []


# While a run goes on


def delete(path):
    os.unlink(path)


def move(path):
    os.replace(path, path + ".old")


def copy(path):
    shutil.copy2(path, path + ".new")
    os.replace(path + ".new", path)


def overwrite(path):
    Path(path + ".new").write_bytes(b"")
    os.replace(path + ".new", path)


def cut_short(path):
    os.truncate(path, os.path.getsize(path) // 2)


EVENTS = [delete, move, copy, overwrite, cut_short]
histories = st.lists(
    st.tuples(
        items,
        st.sets(st.integers(0, 5), max_size=2),
        st.none() | st.tuples(st.sampled_from(EVENTS), st.integers(1, 6)),
    ),
    min_size=1,
    max_size=5,
)


@pytest.mark.skipif(sys.platform == "win32", reason="an open file stays where it is there")
@example([([0, 0], set(), (cut_short, 2)), ([], set(), None)])  # the second record, written behind half of the first
@given(histories)
def test_while_a_run_goes_on_a_file_may_go_away(history):
    path = here / "journal"
    path.unlink(missing_ok=True)
    for inputs, failing, event in history:
        kept = kept_in(path)
        keys = keys_of(inputs)
        missing = [item for item, key in zip(inputs, keys, strict=True) if key not in kept]
        lost = event is not None and len(missing) >= event[1] and not is_nothing(event, path)
        failing = set() if lost else failing  # or its failure would be raised in the other's place
        called = []
        ask = asking(called, failing, event)
        if lost:
            with pytest.raises(JournalError, match="during a run") as caught:
                ask.map(inputs, resume=path)
            assert partial_results(caught.value) == dict(enumerate(map(answer, inputs)))
        else:
            found = ask.map(inputs, resume=path, return_exceptions=True)
            fails = [key not in kept and item in failing for item, key in zip(inputs, keys, strict=True)]
            assert [isinstance(one, ValueError) for one in found] == fails
            assert [one for one in found if not isinstance(one, ValueError)] == [
                answer(item) for item, failed in zip(inputs, fails, strict=True) if not failed
            ]
        if lost and event[0] is cut_short:  # what was cut off is asked for again
            assert len(called) >= len(missing)
        else:
            assert called == missing
        # What is in the file is right in any case.
        assert all(value in [answer(item) for item in range(6)] for value in kept_in(path).values())


def is_nothing(event, path):
    """Does the event change nothing? Half of nothing is nothing, where nothing has been written yet."""
    return event[0] is cut_short and event[1] == 1 and (not path.exists() or path.stat().st_size == 0)


def kept_in(path):
    if not path.exists():
        return {}
    said = [read_line(line + b"\n") for line in path.read_bytes().split(b"\n")]
    return {one["key"]: one["value"] for one in said if one is not None and "value" in one}
