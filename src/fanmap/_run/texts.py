"""From bytes to lines of text: UTF-8, and what has a byte-order mark. What is no text is named, with the cure.

Pure: opens nothing. Lazy: one line at a time.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from fanmap._failure import CommandError

_BOM: Final = "\N{BYTE ORDER MARK}"
# The longer ones first: the mark of UTF-32 begins with that of UTF-16.
_WIDE: Final = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_NO_TEXT: Final = (
    (b"\x1f\x8b", "it is compressed with gzip: gunzip -c FILE | fanmap run ... -"),
    (b"PK\x03\x04", "it is a zip archive, or a spreadsheet: save that as CSV"),
    (b"\xd0\xcf\x11\xe0", "it is an Office file: save it as CSV"),
    (b"PAR1", "it is a Parquet file: convert it to JSONL"),
    (b"BZh", "it is compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ", "it is compressed with xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd: unpack it first"),
)
_SEEN: Final = 4096  # bytes of a line that tell UTF-16
_CUT: Final = "\N{REPLACEMENT CHARACTER}"  # for half a character at the end
_NUL: Final = "a NUL character: this is not text"


def wrong(name: str, line: int, why: str) -> CommandError:
    """The failure that names a line."""
    return CommandError(f"{name}, line {line}: {why}", status=2)


def texts(lines: Iterable[bytes], name: str) -> Iterator[str]:
    """The lines as text, each with its newline.

    Args:
        lines: split at each byte of a newline; all of them together are the input.

    Raises:
        CommandError: a line is no text.
    """
    rest = iter(lines)
    first = next(rest, b"")
    for mark, what in _NO_TEXT:
        if first.startswith(mark):
            raise wrong(name, 1, what)
    chunks = chain((first,), rest) if first else rest
    encoding = next((encoding for mark, encoding in _WIDE if first.startswith(mark)), None)
    yield from _narrow(chunks, name) if encoding is None else _wide(chunks, encoding, name)


def _narrow(lines: Iterable[bytes], name: str) -> Iterator[str]:
    rest = iter(lines)
    for number, line in enumerate(rest, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            if "\0" in text:
                # As UTF-8 it can be read: UTF-16 of that kind has many of them.
                wide = _unmarked(line, b"") if number == 1 and text.count("\0") * 4 > len(text) else None
                raise wrong(name, number, wide or _NUL)
            yield text
        except UnicodeDecodeError as error:
            wide = _unmarked(line, next(rest, b"")) if number == 1 else None
            raise wrong(
                name,
                number,
                wide
                or (_NUL if b"\0" in line else None)
                or f"not UTF-8 (byte {error.start + 1} of the line): if it comes from Windows it may be CP1252, which "
                "`iconv -f CP1252 -t UTF-8` converts",
            ) from error


def _unmarked(line: bytes, following: bytes) -> str | None:
    """What is said of UTF-16 without a mark; None: it is none. The line ends at the first byte that is a newline's."""
    units = line[: min(len(line), _SEEN) & ~1]
    for encoding, high in (("UTF-16LE", units[1::2]), ("UTF-16BE", units[::2])):
        low = units[::2] if encoding == "UTF-16LE" else units[1::2]
        # Latin, digits and punctuation have a NUL in the high byte, and so has a newline; few others have one at all.
        of_newline = encoding == "UTF-16LE" and following.startswith(b"\0")
        if not of_newline and not high.count(0) > low.count(0):
            continue
        text = units.decode(encoding, "replace").rstrip(_CUT)
        if all(one.isprintable() or one in "\t\r\n" for one in text) and _CUT not in text:
            return f"UTF-16 without a byte-order mark: `iconv -f {encoding} -t UTF-8` converts it"
    return None


def _wide(chunks: Iterable[bytes], encoding: str, name: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)()
    begun: list[str] = []
    number = 1
    for chunk, last in _with_end(chunks):
        try:
            text = decoder.decode(chunk, final=last)
        except UnicodeDecodeError as error:
            raise wrong(name, number, f"not {encoding}, as its byte-order mark says") from error
        *whole, rest = text.split("\n")
        for part in whole:
            if "\0" in part:
                raise wrong(name, number, _NUL)
            yield "".join((*begun, part, "\n"))
            begun.clear()
            number += 1
        if "\0" in rest:
            raise wrong(name, number, _NUL)
        if rest:
            begun.append(rest)
    if begun:
        yield "".join(begun)


def _with_end(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    for chunk in chunks:
        yield chunk, False
    yield b"", True


def without_mark(text: str) -> str:
    """A file that was put together of several has marks within, at the beginning of a line."""
    return text.removeprefix(_BOM)
