"""A document survives being packed, whatever happened to it."""

from __future__ import annotations

import dataclasses
from array import array

import pytest

from fanmap._policy.limits.adaptive import Adaptive
from fanmap._policy.limits.rate import Rate
from fanmap._policy.shared.document import Document
from fanmap._policy.shared.packing import VERSION, pack, unpack
from fanmap._policy.shared.wanted import wanted

from ..simulation.shared_world import World


def documents(rates):
    """A few documents in the middle of their lives."""
    world = World(3, wanted(Adaptive(4, 1, 9), rates, requests_told=len(rates) == 1), costs=(1.0, 3.0))
    for _ in range(4):
        world.process(callers=6, jobs=2)
    for step in range(12):
        world.run(0.3)
        process = world.processes[step % 4]
        if step % 3 == 0 and process.running:
            process.refused(process.running[0], "concurrency", None)
        if step == 5:
            world.kill(process)
        yield world.document


@pytest.mark.parametrize("rates", [[], [Rate(20, 1)], [Rate(60, 2, cost=len), Rate(50, 5)]])
def test_what_is_unpacked_is_what_was_packed(rates):
    for document in documents(rates):
        numbers = pack(document)
        again = unpack(array("d", numbers))
        assert again == document
        assert pack(again) == numbers


def test_nothing_of_a_document_is_left_out():
    packed = {field.name for field in dataclasses.fields(Document)}
    first = unpack(pack(Document(7)))
    for name in packed:
        changed = Document(7)
        value = getattr(changed, name)
        if isinstance(value, (int, float)) and name != "memory":
            setattr(changed, name, 5)
            assert unpack(pack(changed)) != first, name


@pytest.mark.parametrize("spoil", [lambda numbers: numbers[:-1], lambda numbers: [*numbers, 0.0], lambda numbers: []])
@pytest.mark.parametrize("rates", [[], [Rate(60, 2, cost=len)]])
def test_too_few_and_too_many_numbers_are_no_document(rates, spoil):
    for document in documents(rates):
        with pytest.raises(ValueError, match="too|not enough|another version"):
            unpack(spoil(pack(document)))


@pytest.mark.parametrize("rates", [[], [Rate(60, 2, cost=len), Rate(50, 5)]])
def test_a_document_that_ends_anywhere_is_none(rates):
    *_, last = documents(rates)
    numbers = pack(last)
    for end in range(len(numbers)):
        with pytest.raises(ValueError, match="too|not enough|another version"):
            unpack(numbers[:end])


def test_the_numbers_of_another_version_are_no_document():
    with pytest.raises(ValueError, match="another version"):
        unpack([VERSION + 1, *pack(Document(7))[1:]])
