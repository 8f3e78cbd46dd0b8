"""The lines of a journal: exact bytes, what is believed, and what a torn or foreign file reads as."""

from __future__ import annotations

import dataclasses
import json
import zlib

import pytest

from fanmap._policy.journals.journal import Keys, Reading, TooDeep, error_line, read_line, value_line

BEGAN = 1767225600.0
ONE = value_line("ab", 3, BEGAN, 1.25, '"four"')
TWO = value_line("cd", 4, BEGAN, 0.0, "5")
FAILED = error_line("ab", 3, BEGAN, 0.5, ValueError("no"))


def read(data):
    reading = Reading()
    for line in data.splitlines(keepends=True):
        reading.add(line)
    return reading


def test_a_result_is_one_line_of_json_with_its_checksum_last():
    assert ONE == (
        b'{"v":1,"key":"ab","index":3,"began":1767225600.000,"seconds":1.250,"value":"four","crc":"5001853e"}\n'
    )
    assert json.loads(ONE)["value"] == "four"


def test_a_result_that_is_not_what_the_annotation_says_is_marked():
    line = value_line("ab", 3, 12.0005, 1.25, "null", as_is=True)
    assert line.startswith(
        b'{"v":1,"key":"ab","index":3,"began":12.001,"seconds":1.250,"as_is":true,"value":null,"crc":"'
    )
    assert read_line(line) == {
        "v": 1, "key": "ab", "index": 3, "began": 12.001, "seconds": 1.25, "as_is": True, "value": None,
    }  # fmt: skip


def test_a_failure_is_a_line_for_people():
    said = json.loads(FAILED)
    assert (said["error"], said["message"]) == ("ValueError", "no")
    assert "value" not in said


def test_a_failure_is_one_line_whose_message_stays_readable():
    assert error_line("ab", 3, BEGAN, 0.5, ValueError("für")) == (
        '{"v":1,"key":"ab","index":3,"began":1767225600.000,"seconds":0.500,"error":"ValueError","message":"für",'
        '"crc":"d606e2a9"}\n'.encode()
    )


def test_a_failure_names_its_type_with_its_module():
    assert json.loads(error_line("ab", 0, BEGAN, 0.0, json.JSONDecodeError("bad", "x", 0)))["error"] == (
        "json.decoder.JSONDecodeError"
    )


def test_a_failure_whose_text_fails_is_written_without_it():
    class Broken(Exception):
        def __str__(self):
            raise self.args[0]

    for why in (RuntimeError("no text"), RecursionError(), GeneratorExit(), BaseException()):
        assert json.loads(error_line("ab", 0, BEGAN, 0.0, Broken(why)))["message"] == ""
    for why in (KeyboardInterrupt(), SystemExit()):
        with pytest.raises(type(why)):
            error_line("ab", 0, BEGAN, 0.0, Broken(why))


def test_a_failure_whose_text_is_of_a_class_of_its_own_is_written_as_it_is():
    class Text(str):
        __slots__ = ()

        def __getitem__(self, place):
            raise RuntimeError("not to be cut")

    class Says(Exception):
        def __str__(self):
            return Text("no")

    assert json.loads(error_line("ab", 0, BEGAN, 0.0, Says()))["message"] == "no"


def test_a_long_message_is_cut():
    assert len(json.loads(error_line("ab", 0, BEGAN, 0.0, ValueError("x" * 5000)))["message"]) == 2000


@pytest.mark.parametrize(
    "text",
    [
        "ü漢🎈",
        "\ud800\udbff \udfff\udc00",
        "half \ud800 of a pair",
        '"quotes" and \\',
        "a\nline\r\n",
        "\u2028\x00\x7f",
    ],
)
def test_every_text_comes_back(text):
    line = value_line("ab", 0, BEGAN, 0.0, json.dumps(text, ensure_ascii=False))
    assert line.count(b"\n") == 1
    said = read_line(line)
    assert said is not None
    assert said["value"] == text


def test_seconds_are_never_below_0():
    assert json.loads(value_line("ab", 0, BEGAN, -1.0, "1"))["seconds"] == 0.0


def with_checksum(body):
    return b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body))


@pytest.mark.parametrize(
    "line",
    [
        with_checksum(b'{"v":2,"key":"ab","value":1'),
        with_checksum(b'{"v":1,"key":"ab","value":'),
        with_checksum(b'{"v":1,"key":"\xff","value":1'),
        with_checksum(b'{"v":1,"key":"ab","key":1,"value":1'),
        with_checksum(b'{"v":1,"key":"ab","key":[],"value":1'),
        b"",
        b"\n",
        b"{}\n",
        ONE[:-1],  # no newline
        ONE.replace(b"5001853e", b"5001853E"),
        ONE.replace(b'"crc":"50', b'"crc":"zz'),
        ONE.replace(b"four", b"five"),
        ONE.replace(b'"v":1', b'"v":2'),
        b" " + ONE,
        b'{"v":1,"key":"ab","value":1}\n',
    ],
)
def test_what_is_not_exactly_a_line_is_not_believed(line):
    assert read_line(line) is None


def test_a_good_line_with_its_checksum_is_believed():
    assert read_line(with_checksum(b'{"v":1,"key":"ab","value":1')) == {"v": 1, "key": "ab", "value": 1}


def test_a_file_is_read_to_its_end():
    reading = read(ONE + TWO)
    assert reading.places == {"ab": 0, "cd": len(ONE)}
    assert (reading.skipped, reading.end, reading.finish, reading.foreign) == (0, len(ONE + TWO), b"", False)


def test_the_last_good_line_of_a_key_counts():
    other = value_line("ab", 3, BEGAN, 2.0, '"other"')
    assert read(ONE + TWO + other + FAILED + other[:-9] + b"\n").places["ab"] == len(ONE + TWO)


def test_a_line_of_another_kind_is_passed_over_and_not_counted():
    for rest in (b'"kind":"batch","id":"b1"', b'"kind":"other","value":1', b'"value":1,"kind":null'):
        line = with_checksum(b'{"v":1,"key":"ab",' + rest)
        reading = read(line + ONE + line)
        assert (reading.places, reading.skipped, reading.foreign) == ({"ab": len(line)}, 0, False)
        assert (read(line).places, read(line).skipped, read(line).foreign) == ({}, 0, False)


def test_lines_are_counted():
    assert read(ONE + b"garbage\n" + TWO[:-3]).lines == 3


DEEP = with_checksum(b'{"v":1,"key":"ab","value":' + b"[" * 100_000 + b"]" * 100_000)


def test_a_line_that_is_nested_too_deeply_is_neither_read_nor_passed_over():
    with pytest.raises(TooDeep):
        read_line(DEEP)
    reading = Reading()
    reading.add(ONE)
    with pytest.raises(TooDeep):
        reading.add(DEEP)
    assert reading.lines == 2


def test_a_failure_is_never_a_result():
    reading = read(FAILED + ONE)
    assert reading.places == {"ab": len(FAILED)}
    assert read(FAILED).places == {}


def test_a_torn_end_is_not_counted_and_not_kept():
    reading = read(ONE + TWO[:-5])
    assert (reading.places, reading.skipped, reading.end) == ({"ab": 0}, 0, len(ONE))


def test_a_whole_line_that_lacks_only_its_newline_is_kept():
    reading = read(ONE + TWO[:-1])
    assert set(reading.places) == {"ab", "cd"}
    assert (reading.end, reading.finish) == (len(ONE + TWO) - 1, b"\n")


def test_a_bad_line_in_the_middle_is_counted_and_skipped():
    reading = read(ONE + b"garbage\n" + TWO)
    assert set(reading.places) == {"ab", "cd"}
    assert (reading.skipped, reading.end) == (1, len(ONE) + 8 + len(TWO))


@pytest.mark.parametrize("data", [b"garbage\n", b"garbage", b'{"v":1}\n', b'{"v":2,"key":"', b"\x00" * 100, b"\n"])
def test_a_file_with_no_line_of_ours_is_foreign(data):
    assert read(data).foreign


@pytest.mark.parametrize("data", [b"", ONE, ONE[:1], ONE[:14], ONE[:30], b"garbage\n" + ONE, ONE + b"garbage"])
def test_a_file_with_a_line_of_ours_or_the_beginning_of_one_is_not(data):
    assert not read(data).foreign


# Keys


def keys(*items, identity="module.ask", version=None):
    made = Keys(identity, version)
    return [made.key(*item) for item in items]


def test_equal_calls_have_the_same_keys_in_every_run_and_keys_of_their_own_within_one():
    calls = [((1,), {}), ((2,), {}), ((1,), {}), ((1,), {})]
    first = keys(*calls)
    assert first == keys(*calls)
    assert len(set(first)) == 4
    assert first[2:] == [first[0] + ".1", first[0] + ".2"]


def test_keys_are_those_of_every_other_run():
    assert keys(((1,), {"model": "small"})) == ["2b6f2a44f0b10ff6e273e890b08fedea"]
    assert keys(("ü", None), version=2) == ["0ae8d645a43f1941c34e7a59cd81b14a"]


def test_the_halves_of_a_surrogate_pair_have_another_key_than_the_whole():
    assert keys(("\ud83c\udf88",)) != keys(("\U0001f388",))


def test_the_order_of_other_calls_does_not_matter():
    one, two = keys(((1,), {}), ((2,), {}))
    assert keys(((2,), {}), ((1,), {})) == [two, one]


def test_another_function_version_or_argument_is_another_key():
    one = ((1,), {"model": "small"})
    made = {
        *keys(one),
        *keys(one, identity="module.tell"),
        *keys(one, version=1),
        *keys(one, version="1"),
        *keys(((1,), {"model": "large"})),
        *keys(((1, "small"), {})),
        *keys((("1",), {"model": "small"})),
    }
    assert len(made) == 7


def test_the_order_of_the_fields_of_a_dataclass_does_not_matter():
    one = dataclasses.make_dataclass("Page", ["url", "text"])
    other = dataclasses.make_dataclass("Page", ["text", "url"])
    assert keys((one(url="a", text="b"),)) == keys((other(url="a", text="b"),))


def test_the_order_of_keywords_does_not_matter():
    assert keys(((), {"a": 1, "b": 2})) == keys(((), {"b": 2, "a": 1}))
