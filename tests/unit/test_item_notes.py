"""The note on a run's first failure: said where the shape of the item or of the function explains it, and only there."""

from __future__ import annotations

import collections
import functools
from collections.abc import Sequence

import pytest

from fanmap import parallel_map
from fanmap._hints.items import note_on, note_on_entry

SPREAD = "each tuple was passed as one argument: with unpack=True its parts are the arguments"
NAMED = "each dict was passed as one argument: with unpack=True its entries are the arguments"
FIX = "each input is one argument: fix the others with ask.partial(name=value), or give tuples and unpack=True"
OBJECT = (
    "ask is a method and was given no object: write object.ask.map(inputs), with @parallel_map above other decorators"
)
CLASS = "ask is a class method and was given no class: write @parallel_map above @classmethod"
SECRET = "the prompt"


def one(prompt):
    pass


def two(prompt, model="small"):
    pass


def both(prompt, model):
    pass


def named(prompt, *, model="small"):
    pass


def many(*prompts):
    pass


def pair(item: tuple[str, str], model: str = "small"):
    pass


def anything(**options):
    pass


def nothing():
    pass


class Called:
    def __call__(self, prompt):
        pass


class Client:
    def ask(self, prompt):
        pass

    def made(cls, prompt):  # noqa: N805 (as `classmethod` gets it)
        pass


BY_NAME = "ask takes its arguments by name: give dicts and unpack=True"
FIXED = "each input is the first argument, which partial(...) has fixed by name"


def failure(function, *args):
    """What the call itself raises, or what a line of the function might."""
    try:
        function(*args)
    except TypeError as error:
        return error.with_traceback(None)
    return ValueError("no")


CASES = [
    (two, (SECRET, "large"), SPREAD),
    (two, (SECRET,), SPREAD),
    (both, (SECRET, "large"), SPREAD),
    (two, collections.namedtuple("Row", "a b")(SECRET, "b"), SPREAD),
    (one, (SECRET, "large"), None),  # it wants the tuple, or it would not take two
    (two, (SECRET, "large", "more"), None),
    (many, (SECRET, "large"), None),
    (pair, (SECRET, "large"), None),
    (two, (), None),
    (two, [SECRET, "large"], None),  # a list of messages is one argument
    (two, {"prompt": SECRET}, NAMED),
    (named, {"prompt": SECRET, "model": "large"}, NAMED),
    (two, {"role": SECRET}, None),
    (two, {"model": "large"}, None),
    (anything, {"prompt": SECRET}, BY_NAME),
    (nothing, SECRET, "ask takes no argument, and each input is one"),
    (Called, SECRET, "ask takes no argument, and each input is one: write parallel_map(ask())"),
    (functools.partial(two, prompt="the same"), SECRET, FIXED),
    (two, {1: SECRET}, None),
    (two, SECRET, None),
    (both, SECRET, FIX),
    (functools.partial(both, model="large"), SECRET, None),
    (Client.ask, SECRET, OBJECT),
    (Client().ask, SECRET, None),
    (Client.made, SECRET, CLASS),
    (print, (SECRET, "large"), None),
]


@pytest.mark.parametrize(("function", "item", "said"), CASES)
def test_a_note_is_said_where_a_shape_explains_the_failure(function, item, said):
    error = failure(function, item)
    if function is print:
        error = ValueError("no")
    assert note_on(function, "ask", item, error, unpack=False) == said
    assert SECRET not in (said or "")


def test_with_unpack_only_a_missing_object_is_said():
    assert note_on(two, "ask", (SECRET, "large"), ValueError("no"), unpack=True) is None
    assert note_on(Client.ask, "ask", (SECRET,), failure(Client.ask, SECRET), unpack=True) == OBJECT


def test_a_type_error_of_the_functions_own_lines_is_no_missing_argument():
    def ask(self, prompt=None):
        raise TypeError("of its own")

    try:
        ask(1)
    except TypeError as error:
        assert note_on(ask, "ask", SECRET, error, unpack=False) is None


def test_coroutines_as_inputs():
    async def answer():
        pass

    coroutine = answer()
    said = note_on(one, "ask", coroutine, AttributeError("no"), unpack=False)
    coroutine.close()
    assert said == (
        "the inputs are awaitables: write await gather_bounded(awaitables), or ask.map(inputs) with the inputs that ask takes"
    )


def test_annotations_as_text_are_read_too():
    def ask(item: Sequence[str], model="small"):
        pass

    def other(item: str, model="small"):
        pass

    assert ask.__annotations__["item"] == "Sequence[str]"
    assert note_on(ask, "ask", ("a", "b"), ValueError("no"), unpack=False) is None
    assert note_on(other, "ask", ("a", "b"), ValueError("no"), unpack=False) == SPREAD


def test_a_function_that_gather_bounded_calls_without_its_arguments():
    line = "functions are called without arguments: write functools.partial({0}, argument)"
    assert note_on_entry(both, failure(both)) == line.format("both")
    decorated = parallel_map(both)
    assert note_on_entry(decorated, failure(both)) == line.format("both") + ", or await both.amap(inputs)"
    assert note_on_entry(both, ValueError("no")) is None
    assert note_on_entry("no function", failure(both)) is None


def test_a_function_that_needs_no_argument_was_called_right():
    for entry in (lambda: 3, functools.partial(both, "a", "b"), parallel_map(both).partial("a", "b")):
        assert note_on_entry(entry, failure(both)) is None
