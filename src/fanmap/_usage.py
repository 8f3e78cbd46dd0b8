"""What calls took: `Usage`, in tokens, and how tokens and money are written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that one response, or many, took. Two add up with `+`.

    Attributes:
        input: everything that went in: the prompt, what was read from a cache and what was written to one.
        cached: how much of `input` was read from a cache (a provider bills that at a fraction).
        output: everything that came out, reasoning included.
        written: how much of `input` was written to a cache, where the provider says (Anthropic bills that higher).
    """

    input: int = 0
    cached: int = 0
    output: int = 0
    written: int = 0

    @property
    def total(self) -> int:
        """`input + output`."""
        return self.input + self.output

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input + other.input,
            self.cached + other.cached,
            self.output + other.output,
            self.written + other.written,
        )


NO_USAGE = Usage()


def in_dollars(amount: float) -> str:
    """An amount of money as people read it: a call may cost a hundredth of a cent."""
    if amount >= 1e9:  # of a price that is a mistake
        return f"${amount:.3g}"
    return f"${amount:.2f}" if amount >= 100 else f"${amount:.4f}" if amount >= 0.01 else f"${amount:.2g}"


def in_tokens(count: int) -> str:
    """A number of tokens in as few characters as a bar has room for."""
    if count < 1_000:
        return f"{count} tokens"
    return f"{count / 1e3:.1f}k tokens" if count < 999_950 else f"{count / 1e6:.1f}M tokens"


def in_and_out(tokens: Usage) -> str:
    """What calls took, for people."""
    cached = f" ({tokens.cached} of them cached)" if tokens.cached else ""
    return f"{tokens.total} tokens: {tokens.input} in{cached}, {tokens.output} out"
