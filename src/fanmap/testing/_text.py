"""What a simulated model says, and how long that is in tokens.

Pure. Every reply is marked as simulated, so that none is ever taken for a model's.
"""

from __future__ import annotations

import re

# Only the head is searched: a document that mentions translations is not an order to translate.
_HEAD = 400
_LANGUAGE = re.compile(
    r"\b[Tt]ranslat\w*\b.{0,200}?\b(?:in)?to (?:the )?([^\W\d_a-z][\w()-]*(?: [^\W\d_a-z][\w()-]*)*)", re.S
)
_LANGUAGE_IN_LOWER_CASE = re.compile(r"\btranslat\w*\b.{0,200}?\b(?:in)?to ([^\W\d_]+)", re.S | re.I)
_ORIGINAL = re.compile(r"\n(?:Original|Text|Source)[^\n:]{0,40}:\s*\n?(.*?)(?:\n+Translat\w*:\s*)?\Z", re.S)


def count_tokens(text: str) -> int:
    """About four characters a token, the rule of thumb for English."""
    return -(-len(text) // 4)


def simulated_reply(prompt: str, system: str = "") -> str:
    """The reply to a prompt: a marked "translation" where one is asked for, else an echo."""
    head = prompt[:_HEAD]
    for instruction in (system[:_HEAD], head):
        found = _LANGUAGE.search(instruction) or _LANGUAGE_IN_LOWER_CASE.search(instruction)
        if found:
            original = prompt if instruction is not head else _original(prompt, found.end())
            return f"[simulated {found[1]} translation]\n{original}"
    return f"[simulated] {prompt[:200]}"


def _original(prompt: str, after: int) -> str:
    """The text to translate: what follows "Original:", a blank line, or the order's colon."""
    labelled = _ORIGINAL.search(prompt)
    if labelled:
        return labelled[1].strip()
    for separator in ("\n\n", ":", "\n"):
        _, found, rest = prompt[after:].partition(separator)
        if found and rest.strip():
            return rest.strip()
    return prompt
