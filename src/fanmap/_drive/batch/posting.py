"""Through whom a group's batches are handed in, and who knows each provider's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from fanmap._drive.batch.senders import Sender
from fanmap._policy.batch import anthropic, openai
from fanmap._policy.batch.wire import Provider

PROVIDERS: Mapping[str, Provider] = {"openai": openai, "anthropic": anthropic}


class Posting(NamedTuple):
    """Through whom a group's batches are handed in and looked after, with which headers, taken from which item."""

    sender: Sender
    headers: dict[str, str]
    item: int
