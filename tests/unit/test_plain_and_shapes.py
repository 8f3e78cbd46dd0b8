"""Which values come back from JSON as they were, and which have one text in every run."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import decimal
import enum
import fractions
import ipaddress
import json
import math
import pathlib
import types
import typing
import uuid
from collections.abc import Collection, Iterable, Sequence
from typing import Annotated, Any, Literal, NamedTuple
from unittest import mock

import pytest
from typing_extensions import TypeAliasType

from fanmap._policy.journals.canonical import canonical
from fanmap._policy.journals.converter import Converter
from fanmap._policy.journals.plain import Unkeepable, is_model, plain_text, same
from fanmap._policy.journals.shapes import shape_of


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


First, Second = typing.TypeVar("First"), typing.TypeVar("Second")
Named = typing.NewType("Named", Label)


@dataclasses.dataclass
class Pair(typing.Generic[First, Second]):
    first: First
    rest: list[Second]
    both: dict[str, tuple[First, Second]] | None = None
    more: Any = None


@dataclasses.dataclass
class Aliased:
    """Of no type variables, whatever stands in its brackets."""

    text: str
    __class_getitem__ = classmethod(types.GenericAlias)


@dataclasses.dataclass
class Numbered(Pair[First, int]):
    last: First | None = None


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
class Empty:
    pass


@dataclasses.dataclass
class Half:
    made: int = dataclasses.field(init=False)


@dataclasses.dataclass
class PartlyMade:
    given: int
    made: int = dataclasses.field(init=False)


class Fields:
    _fields = ("name",)


class Pairs(enum.Enum):
    ONE = (1, 2)


class Bits(enum.IntFlag):
    ONE = 1


class Small(str, enum.Enum):  # noqa: UP042
    A = "a"


class Listed(list):
    pass


class Keyed(dict):
    pass


class Plain(typing.TypedDict):
    a: int


LABEL = Label("good", 0.5)
Alias = TypeAliasType("Alias", Label | None)  # as `type Alias = Label | None` makes it
Unknown = TypeAliasType("Unknown", "OnlyTypeCheckersSeeIt")  # noqa: F821

COMES_BACK = [
    (Named, Label("a", 0.5)),
    (list[Named], [Label("a", 0.5)]),
    (Pair, Pair(1, ["a"])), (Aliased[int], Aliased("a")),  # type: ignore[index,misc]
    (Pair[Label, int], Pair(Label("a", 0.5), [1], {"b": (Label("c", 1.0), 2)}, [3])),
    (Pair[int, Pair[Label, str]], Pair(1, [Pair(Label("a", 0.5), ["b"])])),
    (Numbered[Label], Numbered(Label("a", 0.5), [1], last=Label("b", 1.0))),
    (Any, None), (Any, 1), (Any, 10**30), (Any, True), (Any, 1.5), (Any, "text"), (Any, [1, [None, {"a": "b"}]]), (Any, {}),
    (str, "ü漢\ud800"), (Literal["a", "b"], "a"), (dict, {"a": [1]}), (dict[str, Any], {"a": 1}), (list, [1, "a"]),
    (Annotated[str, "a note"], "text"), (object, [1]), (typing.TypedDict("T", {"a": int}), {"a": 1}),
    (Label, LABEL), (list[Label], [LABEL, LABEL]), (dict[str, Label], {"a": LABEL}), (Label | None, None), (Label | None, LABEL),
    (str | Label, "text"), (str | Label, LABEL), (Label | dict[str, Any], {"other": 1}), (float | None, 1), (int | str, "1"),
    (tuple[int, str], (1, "a")), (tuple[int, ...], (1, 2, 3)), (tuple[int, ...], ()), (tuple[Label, int], (LABEL, 1)),
    (Point, Point(1, 2.5)), (Colour, Colour.RED), (list[tuple[str, Colour]], [("a", Colour.RED)]),
    (Review, Review("text", [LABEL], (1, "a"))), (Review, Review("", [])), (typing.Optional[Review], Review("t", [])),  # noqa: UP045
    (Label | tuple[int, int], (1, 2)), (Annotated[Label, "a note"], LABEL), (list[Annotated[Label, "a note"]], [LABEL]),
    (typing.List, [1, "a"]), (typing.Dict, {"a": 1}), (dict[Literal["a"], Label], {"a": LABEL}),  # noqa: UP006
    (tuple[()], ()), (tuple[int], (1,)), (tuple[Label, ...], (LABEL, LABEL)), (Fields, [1]), (tuple, [1]),
    (Plain | Label, {"a": 1}), (dict | Label, LABEL), (list[Any] | tuple[Any, ...], [1]), (str, "\ud800\udbff"),
    (str, "\udc00\ud800"), (Empty, Empty()),
    (Sequence[Label], [LABEL]), (typing.Iterable[Label | None], [None, LABEL]), (Collection[Label], []),
    (Sequence[str], "text"), (Sequence[str], ["a"]), (Iterable[Any], {"a": 1}), (Sequence[Label] | None, [LABEL]),
    (Alias, LABEL), (Alias, None), (list[Alias], [None, LABEL]), (Unknown, "text"), (Unknown, [1]),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "value"), COMES_BACK)
def test_it_comes_back_as_it_was(annotation, value):
    back = round_trip(annotation, value)
    assert back == value
    assert type(back) is type(value)


def round_trip(annotation, value):
    converter = Converter(annotation)
    text, exact = converter.encode(value)
    return converter.decode(json.loads(text), exact)


REFUSED = [
    (Any, (1, 2)), (Any, {1: "a"}), (Any, {1, 2}), (Any, b"bytes"), (Any, float("nan")), (Any, [float("inf")]),
    (Any, LABEL), (Any, Colour.RED), (Any, object()), (Any, [(1,)]), (str, (1,)), (list[int], (1,)), (tuple[int, int], (1,)),
    (tuple[int, int], [1, 2]), (Label, "text"), (Label, Other("a", 1.0)), (list[Label], [LABEL, "text"]), (Colour, "red"),
    (Label | Other, Other("a", 1.0)),  # would come back as a Label
    (list[Label] | list[Other], [Other("a", 1.0)]), (Shouting, Shouting("a")), (Point, (1, 2.0)),
    (Label | dict[str, Any], {"name": "good", "score": 0.5}), (Any, {"a": (1,)}), (tuple, ()), (typing.Tuple, (1,)),  # noqa: UP006
    (dict[str, Any], {1: "a"}), (dict[int, Label], {1: LABEL}), (dict[str, Any], Keyed(a=1)), (list[int], Listed([1])),
    (Pairs, Pairs.ONE), (str, "\ud83c\udf88"), (list[str], ["\ud83c\udf88"]), (dict[str, str], {"\ud800\udc00": ""}),
    (Any, True + 0j), (int | Label, "text"), (Small, "a"), (str, Small.A),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "value"), REFUSED)
def test_what_would_come_back_as_something_else_is_refused(annotation, value):
    with pytest.raises((TypeError, ValueError)):
        Converter(annotation).encode(value)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (float("nan"), "a float that is not finite is not JSON-serializable"),
        ([float("-inf")], "a float that is not finite is not JSON-serializable"),
        ({1: "a"}, "a dict with a key of type int is not JSON-serializable"),
        ({"a": (1,)}, "tuple is not JSON-serializable"),
        ({"a": [{1}]}, "set is not JSON-serializable"),
        (type("bool", (), {"__module__": "numpy"})(), "numpy.bool is not JSON-serializable"),
        ("\ud83c\udf88", "a str with a surrogate pair as two characters does not round-trip through JSON"),
    ],
)
def test_what_json_does_not_have_is_said(value, says):
    with pytest.raises((TypeError, ValueError)) as caught:
        plain_text(value)
    assert str(caught.value) == says


def test_what_would_come_back_as_something_else_is_said():
    with pytest.raises(TypeError) as caught:
        Converter(Shouting).encode(Shouting("a"))
    assert str(caught.value) == "Shouting does not round-trip through JSON"


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Any, (1,)), (Any, float("nan")), (Pairs, Pairs.ONE), (list[int], (1,)), (dict[str, int], Keyed(a=1)),
        (dict[str, int], {1: 1}), (Point, (1, 2.0)), (tuple[int, int], [1, 2]), (Label, Other("a", 1.0)),
        (Colour | str, "red"), (Label | None, 1),
    ],
)  # fmt: skip
def test_a_value_of_another_shape_is_not_written(annotation, value):
    with pytest.raises((TypeError, ValueError)):
        shape_of(annotation).dump(value)


@pytest.mark.parametrize(
    ("annotation", "data"),
    [
        (list[str], "ab"), (list[str], {"a": 1}), (dict[str, int], []), (tuple[str, ...], "ab"), (tuple[str, str], "ab"),
        (Point, "ab"), (tuple[int, int], [1]), (Label, [["name", 1]]), (Label | None, {"name": "a"}), (Label | int, 1.5),
        (Label | int, "1"), (Label | str, 1), (Label | float, "1"), (Label | float, None), (list[int] | None, (1,)),
    ],
)  # fmt: skip
def test_data_of_another_shape_is_not_read(annotation, data):
    with pytest.raises((TypeError, ValueError)):
        shape_of(annotation).load(data, exact=False)


def test_data_of_no_member_of_a_union_is_said():
    with pytest.raises(TypeError) as caught:
        shape_of(Label | None).load({"name": "a"}, exact=False)
    assert str(caught.value) == "data that matches none of the annotated types"
    with pytest.raises(TypeError) as caught:
        shape_of(Label | None).dump((1,))
    assert str(caught.value) == "a tuple is none of the union's types"


@pytest.mark.parametrize(
    ("annotation", "value", "says"),
    [
        (
            Label | dict[str, Any],
            {"name": "a", "score": 0.5},
            "a dict whose JSON reads as another of the union's types",
        ),
        (Colour | str, "red", "a str whose JSON reads as another of the union's types"),
        (Label | dict[str, Any], 3, "a int is none of the union's types"),
    ],
)
def test_what_reads_as_another_member_of_its_union_is_said(annotation, value, says):
    with pytest.raises(Unkeepable) as caught:
        shape_of(annotation).dump(value)
    assert str(caught.value) == says


def test_data_of_a_union_is_read_as_the_member_that_it_is_of():
    assert shape_of(Label | float).load(1, exact=False) == 1
    assert shape_of(Label | float).load(1.5, exact=False) == 1.5
    assert shape_of(Label | Any).load({"name": "a"}, exact=False) == {"name": "a"}
    assert shape_of(Label | Plain).load({"a": 1}, exact=False) == {"a": 1}
    assert shape_of(str | Label).load({"name": "a", "score": 1.0}, exact=False) == Label("a", 1.0)


@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        (Node, "a type that contains itself"),
        (Half, "a dataclass with a field that its __init__ does not take"),
        (PartlyMade, "a dataclass with a field that its __init__ does not take"),
    ],
)
def test_what_cannot_be_made_again_is_refused_before_anything_is_called(annotation, says):
    with pytest.raises(TypeError) as caught:
        shape_of(annotation)
    assert str(caught.value) == says


ALIKE = [
    (1, True), (1, 1.0), ([1], [True]), ([1], [1, 2]), ([1, 2], [1]), ({"a": 1}, {"a": True}), ({"a": 1, "b": 2}, {"a": 1, "b": 3}),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}), ({"a": 1}, {"a": 1, "b": 2}), ({"a": 1}, {"b": 1}), ({Small.A: 1}, {"a": 1}), ({1}, {True}),
    ({1}, {1, 2}), (frozenset([Small.A]), frozenset(["a"])), (LABEL, Other("good", 0.5)), (LABEL, Label("good", 1)),
    (Label("good", 1.0), Label("good", 1)), (LABEL, Label("bad", 0.5)), (Point(1), (1, 0.0)), (Point(1), Point(True)), ("a", Small.A),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_what_is_equal_only_in_part_is_not_the_same(one, other):
    assert not same(one, other)
    assert not same(other, one)


@pytest.mark.parametrize(
    "value",
    [1, None, [1, [2]], {"a": [1], "b": 2}, {1, 2}, frozenset("ab"), LABEL, Point(1), (), Colour.RED, Keyed(a=1)],
)
def test_a_value_is_the_same_as_its_copy(value):
    assert same(value, copy.deepcopy(value))


@pytest.mark.parametrize("data", [{"name": "a"}, {"name": "a", "score": 1.0, "more": 1}, [], "text"])
def test_data_of_other_fields_is_no_dataclass(data):
    with pytest.raises(TypeError):
        shape_of(Label).load(data, exact=False)


def test_data_of_other_fields_says_whose():
    with pytest.raises(TypeError) as caught:
        shape_of(Label).load({"name": "a"}, exact=False)
    assert str(caught.value) == "fields other than those of Label"


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
        assert round_trip(annotation, value) == value
    with pytest.raises(TypeError):
        Converter(Model).encode(Derived(at=at, label=LABEL, type="a"))


def test_a_pydantic_model_is_written_without_what_it_computes():
    pydantic = pytest.importorskip("pydantic")

    class Forbidding(pydantic.BaseModel, extra="forbid"):  # as OpenAI's structured outputs want it
        number: int

        @pydantic.computed_field
        def double(self) -> int:
            return 2 * self.number

    class Parsed(pydantic.BaseModel):
        data: pydantic.Json

    for value, written in (
        (Forbidding(number=1), {"number": 1}),
        (Parsed(data='{"a": 1}'), {"data": '{"a":1}'}),
    ):
        shape = shape_of(type(value))
        assert shape.dump(value) == written
        assert shape.load(written, exact=True) == value


def test_a_pydantic_model_that_its_dump_does_not_tell_apart_is_not_the_same():
    pydantic = pytest.importorskip("pydantic")

    class Partly(pydantic.BaseModel):
        text: str
        raw: str = pydantic.Field(default="", exclude=True)

    class Base(pydantic.BaseModel):
        x: int

    class Derived(Base):
        y: int = 0

    class Holder(pydantic.BaseModel):
        held: Base

    class Loose(pydantic.BaseModel, extra="allow"):
        any: Any = None

    class Secret(pydantic.BaseModel):
        secret: pydantic.SecretStr

    class Infinite(pydantic.BaseModel, ser_json_inf_nan="constants"):
        x: float

    for value in [
        Partly(text="a", raw="b"),
        Holder(held=Derived(x=1, y=2)),
        Loose(any=Small.A),
        Loose(more=(1,)),
        Loose(any={1: 2}),
        Secret(secret="s"),
    ]:
        with pytest.raises(TypeError, match="does not round-trip through JSON"):
            Converter(type(value)).encode(value)
    for value in [
        Partly(text="a"),
        Holder(held=Base(x=1)),
        Loose(any=["a"], more={"b": 1}),
        Infinite(x=1.0),
        Loose(any=Text("a")),
    ]:
        assert round_trip(type(value), value) == value
    assert same(Loose(more=1), Loose(more=1))
    assert not same(Loose(more=1), Loose(more=2))
    assert not same(Loose(any=1), Loose(any=True))
    with pytest.raises(TypeError, match="^a Derived is not a Base$"):
        shape_of(Base).dump(Derived(x=1))
    with pytest.raises(TypeError, match="not finite"):
        shape_of(Infinite).dump(Infinite(x=float("inf")))
    texts = [
        json.dumps(canonical(value))
        for value in [
            Partly(text="a"), Partly(text="a", raw="1"), Partly(text="a", raw="2"), Holder(held=Base(x=1)), Loose(), Loose(more=1),
            Holder(held=Derived(x=1, y=2)), Holder(held=Derived(x=1, y=3)), Loose(any=1), Loose(any="1"), Loose(any=(1,)),
            Loose(any=[1]), Loose(any={1}), Loose(any={"any": 1}),
        ]
    ]  # fmt: skip
    assert len(set(texts)) == len(texts)
    with pytest.raises(TypeError, match="^SecretStr has no stable representation$"):
        canonical(Secret(secret="s"))


def test_the_key_of_a_pydantic_model_is_what_it_holds():
    pydantic = pytest.importorskip("pydantic")
    core = pytest.importorskip("pydantic_core")

    class Page(pydantic.BaseModel, extra="allow"):
        at: datetime.date
        url: pydantic.HttpUrl | None = None

    name = f"{__name__}.{Page.__qualname__}"
    at = datetime.date(2026, 1, 2)
    assert canonical(Page(at=at, url="https://a.example", more=1)) == {
        "model": [
            name,
            {
                "tuple": [
                    {"dict": [["at", {"date": "2026-01-02"}], ["url", {"HttpUrl": "https://a.example/"}]]},
                    {"dict": [["more", 1]]},
                ]
            },
        ]
    }
    for kind, text in [
        (pydantic.AnyUrl, "http://a.example/"),
        (pydantic.PostgresDsn, "postgres://a.example/b"),
        (core.Url, "http://a.example/"),
        (core.MultiHostUrl, "redis://a.example,b.example/"),
    ]:
        assert canonical(kind(text)) == {type(kind(text)).__name__: text}
    # Made without validation: without what it must have.
    assert canonical(Page.model_construct(url=None)) == {
        "model": [name, {"tuple": [{"dict": [["url", None]]}, {"dict": []}]}]
    }


def test_a_model_has_fields_a_dump_and_json():
    class Model:
        model_fields = ()

        def model_dump(self):
            raise AssertionError

        def model_validate_json(self):
            raise AssertionError

    assert is_model(Model)
    assert is_model(Model())
    for name in ("model_fields", "model_dump", "model_validate_json"):
        part = type("Part", (), {key: value for key, value in vars(Model).items() if key != name})
        assert not is_model(part)
        assert not is_model(part())
    assert not is_model(mock.MagicMock())


def test_texts_are_kept_readable():
    assert plain_text("ü漢") == '"ü漢"'


# Keys


class Twin(NamedTuple):
    x: int
    y: float = 0.0


DIFFERENT = [
    None, True, 1, "1", 1.5, [1], (1,), {"a": 1}, {1: "a"}, {"1": "a"}, {1}, b"1", [[1]], [1, 1], {"tuple": [1]}, LABEL,
    Other("good", 0.5), Colour.RED, "red", pathlib.PurePosixPath("a"), "a", datetime.date(2026, 1, 1), "2026-01-01",
    Bits(2), Bits(4), Bits(1), Bits(0), Point(1, 2), Twin(1, 2), (1, 2), datetime.timedelta(1), ipaddress.ip_address("1.2.3.4"),
    datetime.datetime(2026, 1, 1), decimal.Decimal("1"), uuid.UUID(int=1), Point(1), "", [], {}, (),
]  # fmt: skip


def test_different_values_have_different_texts():
    texts = [json.dumps(canonical(value), sort_keys=True) for value in DIFFERENT]
    assert len(set(texts)) == len(texts)


HERE = __name__
CANONICAL = [
    (None, None), (1.5, 1.5), ([1, [True]], [1, [True]]), (Listed([1, (2,)]), [1, {"tuple": [2]}]), ((1, "a"), {"tuple": [1, "a"]}),
    (Point(1, 2.5), {"named": [f"{HERE}.Point", [1, 2.5]]}), ({"b": [1], "a": (2,)}, {"dict": [["a", {"tuple": [2]}], ["b", [1]]]}),
    (types.MappingProxyType({1: "a"}), {"dict": [[1, "a"]]}), (Keyed(a=1), {"dict": [["a", 1]]}), ({"b", "a"}, {"set": ["a", "b"]}),
    (frozenset([2, 1]), {"set": [1, 2]}), (Colour.RED, {"enum": [f"{HERE}.Colour", "RED"]}), (Small.A, {"enum": [f"{HERE}.Small", "A"]}),
    (Bits(0), {"enum": [f"{HERE}.Bits", "0"]}), (Bits(2), {"enum": [f"{HERE}.Bits", "2"]}), (Bits(1), {"enum": [f"{HERE}.Bits", "ONE"]}),
    (LABEL, {"dataclass": [f"{HERE}.Label", {"name": "good", "score": 0.5}]}),
    (b"a", {"bytes": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"}),
    (bytearray(b"a"), {"bytes": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"}),
    (datetime.date(2026, 1, 2), {"date": "2026-01-02"}), (datetime.time(1, 2), {"date": "01:02:00"}),
    (datetime.timedelta(1, 2, 3), {"timedelta": "1 day, 0:00:02.000003"}), (decimal.Decimal("1.0"), {"Decimal": "1.0"}),
    (uuid.UUID(int=1), {"UUID": "00000000-0000-0000-0000-000000000001"}), (pathlib.PurePosixPath("a/b"), {"path": "a/b"}),
    (ipaddress.ip_network("10.0.0.0/8"), {"IPv4Network": "10.0.0.0/8"}),
]  # fmt: skip


@pytest.mark.parametrize(("value", "form"), CANONICAL)
def test_what_a_key_is_made_of(value, form):
    assert canonical(value) == form
    assert repr(canonical(value)) == repr(form)


def test_a_number_that_is_none_may_be_in_a_key():
    assert json.dumps(canonical([float("nan"), float("inf")])) == "[NaN, Infinity]"


def test_equal_values_have_one_text_whatever_the_order_of_their_members():
    assert canonical({"a": 1, "b": 2}) == canonical({"b": 2, "a": 1})
    assert canonical({"x", "y", "z"}) == canonical({"z", "y", "x"})
    assert canonical(Text("a")) == "a"


class Whole(int):  # as numpy's are: a number by registration, of a type of its own
    pass


class Missing(float):  # as numpy.float64, of which a cell without a number is one
    pass


def test_numbers_of_other_libraries_are_numbers():
    assert canonical(Whole(3)) == 3
    assert type(canonical(Whole(3))) is int
    assert math.isnan(canonical(Missing("nan")))
    assert type(canonical(Missing("nan"))) is float
    assert canonical(fractions.Fraction(1, 2)) == 0.5
    assert type(canonical(fractions.Fraction(1, 2))) is float


def test_a_truth_value_of_numpy_is_one():
    class Truth:
        def __bool__(self):
            return False

    for name in ("bool", "bool_"):  # numpy 2's and 1's
        Truth.__qualname__, Truth.__module__ = name, "numpy"
        assert canonical(Truth()) is False
    Truth.__module__ = "elsewhere"
    with pytest.raises(Unkeepable):
        canonical(Truth())


class MyUrl:  # of this module: nothing is known of it
    pass


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (object(), "object"),
        (lambda: None, "function"),
        ([object()], "object"),
        ({"a": object()}, "object"),
        (iter([]), "list_iterator"),
        (fractions.Fraction(1, 3), "Fraction"),
        (1j, "complex"),
        (Label, "type"),
        (Colour, "EnumType"),
        (MyUrl(), "MyUrl"),
        (mock.MagicMock(), "MagicMock"),
    ],
)
def test_what_has_no_lasting_text_is_refused_by_its_type(value, says):
    with pytest.raises(TypeError) as caught:
        canonical(value)
    assert str(caught.value) == f"{says} has no stable representation"


class Comparing(type):
    """Its classes compare, and so have no hash."""

    def __eq__(cls, other: object) -> bool:
        return type.__eq__(cls, other)


class Word(str, metaclass=Comparing):
    __slots__ = ()


def test_the_class_of_a_text_need_not_have_a_hash() -> None:
    assert canonical([Word("a")]) == ["a"]
    assert plain_text([Word("a")]) == '["a"]'
