"""What a body is taken apart into: its objects, outermost first, and the server's own words, to the last blank."""

from __future__ import annotations

from typing import Any

import pytest

from fanmap._policy.failures.bodies import read_body


def words(*documents: Any) -> str:
    return read_body(documents)[1]


def records(*documents: Any) -> tuple[dict[object, object], ...]:
    return read_body(documents)[0]


@pytest.mark.parametrize(
    "name",
    [
        "message", "Message", "msg", "error_message", "errorMessage", "error_msg", "error", "Error", "errors", "detail",
        "details", "title", "description", "raw",
    ],
)  # fmt: skip
def test_words_are_kept_in_these_fields(name: str) -> None:
    for said in (
        {name: "one"},
        {"error": {name: "one"}},
        [{name: "one"}],
        {name: ["one"]},
        {"metadata": {name: "one"}},
    ):
        assert words(said) == "one"
    assert records({name: {"code": 1}}) == ({name: {"code": 1}}, {"code": 1})


@pytest.mark.parametrize("name", ["metadata", "violations", "body"])
def test_objects_are_kept_in_these_fields_and_no_words(name: str) -> None:
    assert words({name: "one"}) == words({name: ["one"]}) == ""
    assert words({name: 'one {"message": "two"} three'}) == "two"
    assert records({name: [{"code": 1}]}) == ({name: [{"code": 1}]}, {"code": 1})
    said = 'one {"code": 1} three'
    assert records({name: said}) == ({name: said}, {"code": 1})


@pytest.mark.parametrize("name", ["input", "flagged_input", "prompt", "messages", "param", "links", "other"])
def test_any_other_field_is_left_alone(name: str) -> None:
    assert read_body([{name: {"message": "one"}, "code": 1}]) == (({name: {"message": "one"}, "code": 1},), "")


def test_words_come_in_the_order_in_which_they_are_found_one_a_line() -> None:
    assert words({"message": "one", "error": {"message": "three"}}, "two", None, 7) == "two\none\nthree"
    assert words("", {"message": ""}, "one") == "one"


@pytest.mark.parametrize(
    ("text", "prose", "found"),
    [
        ("plain", "plain", []), ("  plain \n", "plain", []), (b"plain \xff", "plain \ufffd", []),
        ('{"a": 1}', "", [{"a": 1}]), ('before {"a": 1}', "before", [{"a": 1}]), ('{"a": 1} after', "after", [{"a": 1}]),
        ('before {"a": 1} after', "before   after", [{"a": 1}]), ('[{"a": 1}, {"b": 2}]', "", [{"a": 1}, {"b": 2}]),
        (r'"{\"a\": 1}"', "", [{"a": 1}]), (r'"{\n \"a\": \"b\\\"c\"}"', "", [{"a": 'b"c'}]), (r'"[{\"a\": 1}]"', "", [{"a": 1}]),
        (r'before {\"a\": {\"b\": 1}} after', "before   after", [{"a": {"b": 1}}]), (r'"{\"code\": 7, "', "", [{"code": "7"}]),
        (r'"\"{\\\"a\\\": 1}\""', "", [{"a": 1}]), ('"just words"', "just words", []),
        ('[Error] {"a": 1}', "[Error]", [{"a": 1}]), ("{no JSON}", "{no JSON}", []), ("[no JSON]", "[no JSON]", []),
        ("x {'code': 7, 'y': None} z", "x   z", [{"code": "7"}]), ("x {'message': 'it'} z {w} v", "x   v\nit", [{"message": "it"}]),
        ("x {'message': \"it's\"} z", "x   z\nit's", [{"message": "it's"}]), ("x {'type': 7cut", "x { : 7cut", []),
        ("x {'code': 'a', 'type': 'cut", "x", [{"code": "a"}]), ('{"code": "a", "message": "cut', "", [{"code": "a"}]),
        ("'code': 'a', no object", " :  , no object", []), ("<html>{'code': 'a'}", "", []), ("{" * 9000, "{" * 4096, []),
        ("x {'retry_after': -1.5} z", "x   z", [{"retry_after": "-1.5"}]), ("b'{\\n \"code\": 7}'", "b' '", [{"code": "7"}]),
    ],
)  # fmt: skip
def test_a_text_is_its_prose_and_the_objects_in_it(text: Any, prose: str, found: list[Any]) -> None:
    assert read_body([text]) == (tuple(found), prose)


def test_after_8192_characters_of_words_no_further_message_is_looked_at() -> None:
    assert words("x" * 4096, "y" * 4096, "z") == f"{'x' * 4096}\n{'y' * 4096}"
    assert words("x" * 4096, "y" * 4095, "z") == f"{'x' * 4096}\n{'y' * 4095}\nz"
    assert words("x" * 4096, "y" * 4095, "z", "w") == f"{'x' * 4096}\n{'y' * 4095}\nz"
    assert records("x" * 4096, "y" * 4096, {"code": 1}) == ({"code": 1},)


def test_what_contains_itself_ends() -> None:
    body: dict[str, Any] = {"message": "one"}
    body["error"] = [body, body]
    found, said = read_body([body])
    assert len(found) < 64 and set(said.split("\n")) == {"one"}
