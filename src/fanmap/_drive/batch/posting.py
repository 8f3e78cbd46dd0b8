"""What is kept of a question that may be handed in, and through whom that is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from fanmap._drive.batch.senders import Sender
from fanmap._policy.batch import anthropic, openai
from fanmap._policy.batch.question import Group
from fanmap._policy.batch.wire import Provider

PROVIDERS: Mapping[str, Provider] = {"openai": openai, "anthropic": anthropic}


class Noted(NamedTuple):
    """A question that may be handed in.

    Attributes:
        group: whose batch it fits.
        start: where its line begins.
        size: of that, in bytes.
        weight: how much it counts against a provider's most lines.
        item: the index of the one that asks.
        cost: dollars that it may cost; None: nobody can say, or wants to know.
    """

    group: Group
    start: int
    size: int
    weight: int
    item: int
    cost: float | None


class Posting(NamedTuple):
    """Through whom a group's batches are handed in and looked after, with which headers, taken from which item."""

    sender: Sender
    headers: dict[str, str]
    item: int
