"""A server's message without what it quotes: a prompt that is given back must not be read as the server's word.

Pure. Quotation marks tell most of it, a label in front of a prompt ("Invalid prompt: ...") the rest. When in doubt
words are lost, never won: a refusal without words is read by its status.
"""

from __future__ import annotations

import re

_LONGEST = 4096  # characters; messages are a few hundred

_URL = re.compile(r"https?://\S+", re.IGNORECASE)
_SUSPECT = re.compile(
    "[\"'`\u201c\u2018\u00ab\u300c]|(?:prompt|input|text|message|query|question|content)s?\\s{0,3}[:=]", re.I
)

# "Quota exceeded for quota metric 'Requests' and limit 'Requests per day'": Google's own words.
_NAMED_LIMIT = re.compile(r"\b(metric|limit|quota) '([^'\n]{1,160})'", re.IGNORECASE)
# A line that is nothing but a quotation: `429 "Your team has used all available credits."`
_ALL_OF_IT = re.compile(r"""\s*(?:[a-z ]{0,20}\d{3}[\s:-]*)?(["'])(.*)\1\s*""", re.IGNORECASE)
# `Invalid prompt: ...`, to the end; `your prompt "he said "go"" was flagged`, to the last quotation mark.
_LABEL = (
    r"\b(?:prompt|input|flagged[ _](?:text|input)|(?:user|your) (?:message|query|question|text|content))s?\b\s{0,3}"
)
_PROMPT = re.compile(rf'{_LABEL}[:=].*|{_LABEL}".*"', re.IGNORECASE | re.DOTALL)
# An apostrophe is no quotation mark, and one that nothing closes quotes to the end.
_QUOTED = re.compile(
    r'"(?:[^"\\]|\\.)*(?:"|\Z)|\u201c[^\u201d]*(?:\u201d|\Z)|\u00ab[^\u00bb]*(?:\u00bb|\Z)|\u300c[^\u300d]*(?:\u300d|\Z)'
    r"|`[^`\n]*`|(?<!\w)'(?=\S)[^\n]*?(?<=\S)'(?!\w)|(?<!\w)\u2018[^\u2019\n]*\u2019",
    re.DOTALL,
)


def own_words(text: str) -> str:
    """A message without the addresses and quotations in it."""
    text = text[:_LONGEST]
    if "://" in text:
        text = _URL.sub(" ", text)
    if _SUSPECT.search(text) is None:  # nearly always, and much cheaper
        return text
    lines: list[str] = []
    for line in _NAMED_LIMIT.sub(r"\1 \2", text).split("\n"):
        quotation = _ALL_OF_IT.fullmatch(line)
        lines.append(line if quotation is None else quotation[2])
    return _QUOTED.sub(" ", _PROMPT.sub(" ", "\n".join(lines)))
