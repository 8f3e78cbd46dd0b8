"""What is said where money cannot be counted."""

from __future__ import annotations

import re


def price_text(text: str) -> str:
    """What the library says of a price that is missing, in the words of the command line, which has no Limits."""
    decorated = "decorate the function with @parallel_map(limits=Limits(price=...))"
    text = text.replace("give Limits(price=...)", decorated).replace("pass a price= function", decorated)
    return re.sub("^max_spend needs", "--max-spend needs", text)
