"""Which values come back from JSON as they were, and which have one text in every run."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import fractions
import json
import pathlib
import typing
import uuid
from typing import Annotated, Any, Literal, NamedTuple

import pytest

from fanmap._policy.plain import canonical, plain_text
from fanmap._policy.shapes import encoder, shape_of


class Colour(enum.Enum):
    RED = "red"


class Text(str):
    __slots__ = ()


class Point(NamedTuple):
    x: int
    y: float = 0.0


@dataclasses.dataclass
class Label:
    name: str
    score: float


@dataclasses.dataclass
class Other:
    name: str
    score: float


@dataclasses.dataclass(frozen=True)
class Review:
    text: str
    labels: list[Label]
    at: tuple[int, str] | None = None
    colour: Colour = Colour.RED


@dataclasses.dataclass
class Shouting:
    text: str

    def __post_init__(self):
        self.text = self.text.upper() + "!"


@dataclasses.dataclass
class Node:
    next: Node | None


@dataclasses.dataclass
class Half:
    made: int = dataclasses.field(init=False)


LABEL = Label("good", 0.5)

COMES_BACK = [
    (Any, None), (Any, 1), (Any, 10**30), (Any, True), (Any, 1.5), (Any, "text"), (Any, [1, [None, {"a": "b"}]]), (Any, {}),
    (str, "ü漢\ud800"), (Literal["a", "b"], "a"), (dict, {"a": [1]}), (dict[str, Any], {"a": 1}), (list, [1, "a"]),
    (Annotated[str, "a note"], "text"), (object, [1]), (typing.TypedDict("T", {"a": int}), {"a": 1}),
    (Label, LABEL), (list[Label], [LABEL, LABEL]), (dict[str, Label], {"a": LABEL}), (Label | None, None), (Label | None, LABEL),
    (str | Label, "text"), (str | Label, LABEL), (Label | dict[str, Any], {"other": 1}), (float | None, 1), (int | str, "1"),
    (tuple[int, str], (1, "a")), (tuple[int, ...], (1, 2, 3)), (tuple[int, ...], ()), (tuple[Label, int], (LABEL, 1)),
    (Point, Point(1, 2.5)), (Colour, Colour.RED), (list[tuple[str, Colour]], [("a", Colour.RED)]),
    (Review, Review("text", [LABEL], (1, "a"))), (Review, Review("", [])), (typing.Optional[Review], Review("t", [])),  # noqa: UP045
    (Label | tuple[int, int], (1, 2)),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "value"), COMES_BACK)
def test_it_comes_back_as_it_was(annotation, value):
    shape = shape_of(annotation)
    back = shape.load(json.loads(encoder(shape)(value)))
    assert back == value
    assert type(back) is type(value)


REFUSED = [
    (Any, (1, 2)), (Any, {1: "a"}), (Any, {1, 2}), (Any, b"bytes"), (Any, Text("a")), (Any, float("nan")), (Any, [float("inf")]),
    (Any, LABEL), (Any, Colour.RED), (Any, object()), (Any, [(1,)]), (str, (1,)), (list[int], (1,)), (tuple[int, int], (1,)),
    (tuple[int, int], [1, 2]), (Label, "text"), (Label, Other("a", 1.0)), (list[Label], [LABEL, "text"]), (Colour, "red"),
    (Label | Other, Other("a", 1.0)),  # would come back as a Label
    (list[Label] | list[Other], [Other("a", 1.0)]), (Shouting, Shouting("a")), (Point, (1, 2.0)),
    (Label | dict[str, Any], {"name": "good", "score": 0.5}),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "value"), REFUSED)
def test_what_would_come_back_as_something_else_is_refused(annotation, value):
    with pytest.raises((TypeError, ValueError)):
        encoder(shape_of(annotation))(value)


@pytest.mark.parametrize("annotation", [Node, Half])
def test_what_cannot_be_made_again_is_refused_before_anything_is_called(annotation):
    with pytest.raises(TypeError):
        shape_of(annotation)


@pytest.mark.parametrize("data", [{"name": "a"}, {"name": "a", "score": 1.0, "more": 1}, [], "text"])
def test_data_of_other_fields_is_no_dataclass(data):
    with pytest.raises(TypeError):
        shape_of(Label).load(data)


def test_a_pydantic_model_is_written_and_read_by_its_own_json():
    pydantic = pytest.importorskip("pydantic")

    class Model(pydantic.BaseModel):
        at: datetime.datetime
        label: Label
        kind: str = pydantic.Field(alias="type")

    class Strict(pydantic.BaseModel, strict=True):
        at: datetime.date

    class Derived(Model):
        pass

    at = datetime.datetime(2026, 1, 2)
    for annotation, value in [
        (Model, Model(at=at, label=LABEL, type="a")),
        (Strict, Strict(at=at.date())),
        (Model | None, Model(at=at, label=LABEL, type="a")),
        (list[Model], [Model(at=at, label=LABEL, type="a")]),
    ]:
        shape = shape_of(annotation)
        assert shape.load(json.loads(encoder(shape)(value))) == value
    with pytest.raises(TypeError):
        encoder(shape_of(Model))(Derived(at=at, label=LABEL, type="a"))


def test_texts_are_kept_readable():
    assert plain_text("ü漢") == '"ü漢"'


# Keys


DIFFERENT = [
    None, True, 1, "1", 1.5, [1], (1,), {"a": 1}, {1: "a"}, {"1": "a"}, {1}, b"1", [[1]], [1, 1], {"tuple": [1]}, LABEL,
    Other("good", 0.5), Colour.RED, "red", pathlib.PurePosixPath("a"), "a", datetime.date(2026, 1, 1), "2026-01-01",
    datetime.datetime(2026, 1, 1), decimal.Decimal("1"), uuid.UUID(int=1), Point(1), "", [], {}, (),
]  # fmt: skip


def test_different_values_have_different_texts():
    texts = [json.dumps(canonical(value), sort_keys=True) for value in DIFFERENT]
    assert len(set(texts)) == len(texts)


def test_equal_values_have_one_text_whatever_the_order_of_their_members():
    assert canonical({"a": 1, "b": 2}) == canonical({"b": 2, "a": 1})
    assert canonical({"x", "y", "z"}) == canonical({"z", "y", "x"})
    assert canonical(Text("a")) == "a"


class Whole(int):  # as numpy's are: a number by registration, of a type of its own
    pass


def test_numbers_of_other_libraries_are_numbers():
    assert canonical(Whole(3)) == 3
    assert type(canonical(Whole(3))) is int
    assert canonical(fractions.Fraction(1, 2)) == 0.5


@pytest.mark.parametrize(
    "value", [object(), lambda: None, [object()], {"a": object()}, iter([]), fractions.Fraction(1, 3)]
)
def test_what_has_no_lasting_text_is_refused_by_its_type(value):
    with pytest.raises(TypeError, match="object|function|iterator|Fraction"):
        canonical(value)
