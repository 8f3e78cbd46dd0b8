"""What of a result may be left out in JSON (a class that is no more than its base), what is marked, what is said."""

from __future__ import annotations

import dataclasses
import enum
import json
import typing
from typing import Any, Literal, NamedTuple

import pytest

from fanmap._policy.journals.converter import Converter
from fanmap._policy.journals.plain import Unkeepable, bare, base_of, plain_text, same, why_not
from fanmap._raw import name_of_type


class Text(str):  # as LangChain's AIMessage.text is
    __slots__ = ()

    def __call__(self):
        return str(self)


class Loose(str):  # with a __dict__, in which nothing is
    pass


class Number(float):  # as numpy.float64 is
    __slots__ = ()
    __str__ = float.__repr__

    def __repr__(self):
        return f"Number({float.__repr__(self)})"


class Count(int):
    __slots__ = ()


class Caseless(str):
    __slots__ = ()

    def __eq__(self, other):
        return self.lower() == str(other).lower()

    def __hash__(self):
        return hash(self.lower())


class Hashed(str):
    __slots__ = ()
    __eq__ = str.__eq__

    def __hash__(self):
        return 7


class Odd(int):
    __slots__ = ()
    __hash__ = int.__hash__

    def __eq__(self, other):
        return False


class Loud(str):
    __slots__ = ()

    def __str__(self):
        return self.upper() + "!"


class Sourced(str):
    pass


class Plainly(enum.StrEnum):
    A = "a"


class Level(enum.IntEnum):
    LOW = 1


class Share(float, enum.Enum):
    HALF = 0.5


class Mixed(str, enum.Enum):  # noqa: UP042
    A = "a"


class Meta(type):
    def __getattribute__(cls, name):
        if name in ("__name__", "__qualname__", "__module__"):
            raise RuntimeError("no name")
        return super().__getattribute__(name)


class Nameless(metaclass=Meta):
    pass


class Reply(NamedTuple):
    text: str
    score: float


@dataclasses.dataclass
class Label:
    name: str
    score: float


def sourced(text):
    made = Sourced(text)
    made.source = "a file"
    return made


BARE = [
    (Text("a"), "a"), (Loose("a"), "a"), (Text(""), ""), (Number(0.5), 0.5), (Number(0.0), 0.0), (Count(3), 3),
    (Count(0), 0), (Loose("ü"), "ü"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "base"), BARE)
def test_a_class_that_is_no_more_than_its_base_is_its_base(value, base):
    assert bare(value) == base
    assert type(bare(value)) is type(base)
    assert json.loads(plain_text([value, {"a": value}])) == [base, {"a": base}]
    assert same(base, value)
    assert same([base], [value])


NOT_BARE = [
    sourced("a"), Caseless("A"), Hashed("a"), Odd(3), Loud("a"), Plainly.A, Level.LOW, Share.HALF, Mixed.A,
]  # fmt: skip


@pytest.mark.parametrize("value", NOT_BARE)
def test_a_class_that_is_more_than_its_base_is_refused(value):
    assert bare(value) is value
    base = base_of(value)
    assert type(base) in (str, int, float)
    assert not same(base, value)
    with pytest.raises(Unkeepable, match=f"^{type(value).__name__} is not JSON-serializable$"):
        plain_text([value])
    with pytest.raises(Unkeepable, match=f"^a dict with a key of type {type(value).__name__} is not "):
        plain_text({value: 1})


def test_a_slot_may_hold_more_than_the_base():
    # A subclass of str may have slots only with a __dict__ elsewhere, of float freely.
    class Measured(float):
        __slots__ = ("unit",)

    class Further(Measured):
        __slots__ = ()

    for kind in (Measured, Further):
        assert type(bare(kind(1.5))) is kind


@pytest.mark.parametrize("value", ["a", 1, 1.5, True, None, [1], {"a": 1}, (1,), object(), b"a"])
def test_any_other_value_is_itself(value):
    assert bare(value) is value
    assert base_of(value) is value


def test_a_key_of_a_dict_may_be_bare_too():
    assert plain_text({Text("a"): 1}) == '{"a":1}'
    with pytest.raises(Unkeepable, match="a dict with a key of type Count is not"):
        plain_text({Count(1): 1})


def test_a_bare_float_that_is_not_finite_is_refused():
    with pytest.raises(Unkeepable, match="a float that is not finite is not JSON-serializable"):
        plain_text(Number("inf"))


def test_the_same_asks_of_what_was_read_whether_it_is_all_of_the_other():
    assert same("a", Text("a"))
    assert not same("b", Text("a"))
    assert not same(Text("a"), "a")  # nothing that is read from JSON is of such a class
    assert same({"a": [1.5]}, {"a": [Number(1.5)]})
    assert same(Label("a", 0.5), Label(Text("a"), Number(0.5)))
    assert not same(1, Number(1.0))
    assert not same(True, Count(1))


# What an annotation says


def test_members_of_other_shapes_may_be_bare():
    for annotation, value, back in [
        (list[str], [Text("a")], ["a"]),
        (dict[str, float], {Text("a"): Number(0.5)}, {"a": 0.5}),
        (tuple[str, ...], (Text("a"),), ("a",)),
        (str | None, Text("a"), "a"),
        (int | Label, Count(3), 3),
        (Label, Label(Text("a"), Number(0.5)), Label("a", 0.5)),
        (Reply, Reply(Text("a"), 0.5), Reply("a", 0.5)),
        (Literal["a"], Text("a"), "a"),
    ]:
        text, exact = Converter(annotation).encode(value)
        assert exact, annotation
        again = Converter(annotation).decode(json.loads(text), exact)
        assert again == back
        assert repr(again) == repr(back)


def test_the_member_of_an_enumeration_is_its_value_only_where_nobody_was_promised_more():
    assert Converter(str).encode(Plainly.A) == ('"a"', True)
    assert Converter(int).encode(Level.LOW) == ("1", True)
    for annotation, value in [
        (Any, Plainly.A), (object, Level.LOW), (str, Mixed.A), (float, Share.HALF), (float, Level.LOW), (int, Plainly.A),
        (list, Plainly.A), (list[str], [Plainly.A]), (Literal["a"], Plainly.A),
    ]:  # fmt: skip
        with pytest.raises(Unkeepable):
            Converter(annotation).encode(value)
    assert Converter(Plainly).encode(Plainly.A) == ('"a"', True)
    assert Converter(Plainly).decode("a", True) is Plainly.A
    assert Converter(Plainly | None).decode("a", True) is Plainly.A


EXACT = [
    (Any, None), (Any, [1]), (object, "a"), (str, "a"), (int, 1), (int, True), (float, 1.5), (float, 1), (bool, True),
    (list, [1]), (dict, {"a": 1}), (type(None), None), (Literal["a", 2], "a"), (Literal["a", 2], 2),
    (typing.TypedDict("T", {"a": int}), {"b": 1}), (list[int], [1]), (dict[str, float], {"a": 1}), (str | int, 1),
    (str | None, None), (tuple[int, str], (1, "a")), (tuple[int, ...], ()), (Label, Label("a", 1)), (list[Any], ["a", 1]),
    (Reply, Reply("a", 0.5)), (Literal[True], True), (dict[str, Label], {"a": Label("a", 0.5)}),
]  # fmt: skip
AS_IS = [
    (str, None), (str, {"a": 1}), (int, "1"), (int, 1.0), (float, "1"), (float, True), (bool, 1), (list, {}), (dict, []),
    (type(None), 0), (Literal["a", 2], "b"), (Literal[1], True), (Literal[True], 1), (Literal["a"], None), (list[int], ["a"]),
    (typing.TypedDict("T", {"a": int}), [1]), (dict[str, float], {"a": None}), (tuple[int, str], (1, 2)), (Label, Label(None, 1)),
    (list[Label], [Label("a", 1), Label("a", None)]), (Reply, Reply(None, 0.5)), (Label | None, Label(None, 1.0)),
    (tuple[int, ...], (1, "a")), (list[list[str]], [["a"], [1]]),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "value"), EXACT)
def test_a_value_of_the_annotations_types_is_exact(annotation, value):
    converter = Converter(annotation)
    text, exact = converter.encode(value)
    assert exact
    assert converter.decode(json.loads(text), True) == value


@pytest.mark.parametrize(("annotation", "value"), AS_IS)
def test_a_value_of_other_types_comes_back_as_it_is_and_only_so(annotation, value):
    converter = Converter(annotation)
    text, exact = converter.encode(value)
    assert not exact
    back = converter.decode(json.loads(text), False)
    assert back == value
    assert type(back) is type(value)
    with pytest.raises(Unkeepable):
        converter.decode(json.loads(text), True)


def test_a_value_that_the_annotation_does_not_say_is_named():
    with pytest.raises(Unkeepable, match="^a str does not match the annotation$"):
        Converter(int).decode("text", True)


# What user's classes do when they are looked at


def test_names_of_types_are_had_whatever_their_metaclass_does():
    assert name_of_type(Nameless) == "Nameless"
    assert name_of_type(str) == "str"


class Shy(Exception):
    def __str__(self):
        raise AssertionError("asked")


def test_of_a_failure_its_type_is_said_and_never_its_text():
    assert why_not(Unkeepable("set is not JSON-serializable")) == "set is not JSON-serializable"
    assert why_not(RecursionError("deep")) == "it is nested too deeply"
    assert why_not(ValueError("secret")) == "encoding it raised ValueError"
    assert why_not(Shy(), "reading") == "reading it raised Shy"

    class Ours(Unkeepable):  # of a user who found it
        pass

    assert why_not(Ours("secret")) == "encoding it raised Ours"


def test_a_user_type_of_any_name_is_named_in_every_refusal():
    with pytest.raises(Unkeepable, match="^Nameless is not JSON-serializable$"):
        plain_text(Nameless())
    with pytest.raises(Unkeepable, match="^a Nameless is not a list$"):
        Converter(list[int]).encode(Nameless())
    with pytest.raises(Unkeepable, match="^a Nameless is none of the union's types$"):
        Converter(int | Label).encode(Nameless())
