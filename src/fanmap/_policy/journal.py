"""The lines of a journal: what one says, which can be believed, and under which key an item is found again.

One JSON object a line, its checksum last:

    {"v":1,"key":"9f8c…","index":3,"seconds":1.25,"value":"four","crc":"0d4a1f00"}

A failure has `"error"`, the type's name, and `"message"` in place of `"value"`. Pure: it is handed bytes and
returns bytes; files are `_drive.journal`'s.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from typing import Any, Final

from fanmap._policy.plain import canonical

_HEAD: Final = b'{"v":1,"key":"'
_CRC: Final = b',"crc":"'
_TAIL: Final = len(_CRC) + 8 + len(b'"}\n')
_KEY_DIGITS: Final = 32  # of sha256: 128 bits
_MESSAGE: Final = 2000  # characters of a failure's message that are kept


def value_line(key: str, index: int, seconds: float, text: str) -> bytes:
    """The line of an item that succeeded; `text` is its result as JSON."""
    return _line(key, index, seconds, f'"value":{text}')


def error_line(key: str, index: int, seconds: float, error: BaseException) -> bytes:
    """The line of an item that failed: for people to read, and never believed to be a result."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        message = str(error)
    except Exception:  # a user's `__str__`
        message = ""
    said = json.dumps(message[:_MESSAGE], ensure_ascii=False)
    return _line(key, index, seconds, f'"error":{json.dumps(name)},"message":{said}')


def _line(key: str, index: int, seconds: float, rest: str) -> bytes:
    text = f'{{"v":1,"key":"{key}","index":{index},"seconds":{max(0.0, seconds):.3f},{rest}'
    try:
        body = text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can only escape
        body = _escaped(text).encode()
    return b'%b%b%08x"}\n' % (body, _CRC, zlib.crc32(body))


def _escaped(text: str) -> str:
    return "".join(f"\\u{ord(char):04x}" if "\ud800" <= char <= "\udfff" else char for char in text)


def read_line(line: bytes) -> dict[str, Any] | None:
    """What a whole line says; None where it cannot be believed."""
    body, tail = line[:-_TAIL], line[-_TAIL:]
    if not line.startswith(_HEAD) or tail != b'%b%08x"}\n' % (_CRC, zlib.crc32(body)):
        return None
    try:
        said: dict[str, Any] = json.loads(body + b"}")
    except ValueError:
        return None
    return said


class Reading:
    """A journal read from its beginning, line by line.

    Attributes:
        places: where the line of a key begins that holds its result; the first good one of a key counts.
        skipped: lines that cannot be believed.
        end: bytes up to the end of the last whole line; what follows is torn.
        finish: what the last line lacks: `b"\\n"`, or nothing.
        foreign: there is something in the file, and no line of it is a journal's.
    """

    def __init__(self) -> None:
        self.places: dict[str, int] = {}
        self.skipped = 0
        self.end = 0
        self.finish = b""
        self._good = False
        self._torn = b""

    def add(self, line: bytes) -> None:
        """The next line, with its newline; only the last one may lack it."""
        whole = line if line.endswith(b"\n") else line + b"\n"
        said = read_line(whole)
        if said is None and whole is not line:
            self._torn = line
            return
        if said is None:
            self.skipped += 1
        else:
            self._good = True
            if "value" in said:
                self.places.setdefault(said["key"], self.end)
        self.end += len(line)
        if whole is not line:
            self.finish = b"\n"

    @property
    def foreign(self) -> bool:
        if self._good:
            return False
        # A first line that was torn is ours, however little of it there is.
        return self.skipped > 0 or not (self._torn.startswith(_HEAD) or _HEAD.startswith(self._torn))


class Keys:
    """The keys of one run's items: the same calls in the same order have the same keys.

    Args:
        identity: of the function.
        version: of its code, as the user counts it; None: the first.
    """

    def __init__(self, identity: str, version: object) -> None:
        self._start = hashlib.sha256(_json([identity, version]))
        self._seen: dict[str, int] = {}

    def key(self, *parts: object) -> str:
        """The next item's; equal parts get keys of their own, so that five equal calls stay five results.

        Raises:
            TypeError: a part is nothing that has the same text in every run.
        """
        digest = self._start.copy()
        digest.update(_json(canonical(parts)))
        key = digest.hexdigest()[:_KEY_DIGITS]
        again = self._seen.get(key, 0)
        self._seen[key] = again + 1
        return f"{key}.{again}" if again else key


def _json(value: object) -> bytes:
    # Not escaped: the halves of a surrogate pair would have the text of the whole.
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")
