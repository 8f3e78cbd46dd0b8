"""The lines of a journal: what one says, which can be believed, and under which key an item is found again.

One JSON object a line, its checksum last:

    {"v":1,"key":"9f8c…","index":3,"began":1767225600.000,"seconds":1.25,"value":"four","crc":"0d4a1f00"}

A failure has `"error"`, the type's name, and `"message"` in place of `"value"`. Where money is counted, `"cost"` says
what the item's calls cost, in dollars, and `"units"` what they took of each total of the user's own. A line with a
`"kind"` is somebody else's, and passed over, but for the money that it says is spent, or set aside. Pure: it is
handed bytes and returns bytes; files are `_drive.journals.journal`'s.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable
from typing import Any, Final

from fanmap._policy.journals.canonical import canonical
from fanmap._policy.journals.kept import NOTHING_SPENT, Spent, amount_of, spent_of_line
from fanmap._policy.json_text import sorted_compact
from fanmap._raw import full_type_name, text_of

_HEAD: Final = b'{"v":1,"key":"'
_CRC: Final = b',"crc":"'
_TAIL: Final = len(_CRC) + 8 + len(b'"}\n')
_KEY_DIGITS: Final = 32  # of sha256: 128 bits
_MESSAGE: Final = 2000  # characters of a failure's message that are kept


class TooDeep(Exception):
    """Raised where a line that can be believed is nested too deeply for Python to read it."""


def value_line(
    key: str,
    index: int,
    began: float,
    seconds: float,
    text: str,
    *,
    as_is: bool = False,
    spent: Spent = NOTHING_SPENT,
) -> bytes:
    """The line of an item that succeeded.

    Args:
        key: of the item.
        index: of the input, in the run that wrote it.
        began: when its call began, in seconds since the epoch.
        seconds: that the call took.
        text: its result as JSON.
        as_is: the result is not what the function's annotation says, and is to come back as it is.
        spent: by its calls.
    """
    rest = f'"as_is":true,"value":{text}' if as_is else f'"value":{text}'
    return _line(key, index, began, seconds, _shown(spent) + rest)


def error_line(
    key: str, index: int, began: float, seconds: float, error: BaseException, *, spent: Spent = NOTHING_SPENT
) -> bytes:
    """The line of an item that failed: for people to read, and never believed to be a result."""
    name = full_type_name(error)
    said = json.dumps(text_of(error, _MESSAGE), ensure_ascii=False)
    return _line(key, index, began, seconds, f'{_shown(spent)}"error":{json.dumps(name)},"message":{said}')


def _shown(spent: Spent) -> str:
    cost = f'"cost":{spent.cost!r},' if spent.cost else ""
    return f'{cost}"units":{json.dumps(spent.units)},' if any(spent.units) else cost


def kind_line(key: str, kind: str, began: float, rest: str) -> bytes:
    """A line that is no outcome of an item: `rest` are its fields as JSON."""
    return _sealed(f'{{"v":1,"key":"{key}","kind":"{kind}","began":{began:.3f},{rest}')


def _line(key: str, index: int, began: float, seconds: float, rest: str) -> bytes:
    text = f'{{"v":1,"key":"{key}","index":{index},"began":{began:.3f},"seconds":{max(0.0, seconds):.3f},{rest}'
    return _sealed(text)


def _sealed(text: str) -> bytes:
    try:
        body = text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can only escape
        body = _escaped(text).encode()
    return b'%b%b%08x"}\n' % (body, _CRC, zlib.crc32(body))


def _escaped(text: str) -> str:
    return "".join(f"\\u{ord(char):04x}" if "\ud800" <= char <= "\udfff" else char for char in text)


def read_line(line: bytes) -> dict[str, Any] | None:
    """What a whole line says; None where it cannot be believed.

    Raises:
        TooDeep: it can be believed, and cannot be read from here.
    """
    body, tail = line[:-_TAIL], line[-_TAIL:]
    if not line.startswith(_HEAD) or tail != b'%b%08x"}\n' % (_CRC, zlib.crc32(body)):
        return None
    try:
        said: dict[str, Any] = json.loads(body + b"}")
    except RecursionError:
        raise TooDeep from None
    except ValueError:
        return None
    return said if isinstance(said["key"], str) else None


class Reading:
    """A journal read from its beginning, line by line.

    Args:
        others: told of each line with a `"kind"`, and where it begins; None: nobody is.

    Attributes:
        places: where the line of a key begins that holds its result; the last good one of a key counts, because a
            result that its reader refused was asked for again.
        lines: read so far.
        skipped: lines that cannot be believed.
        spent: what all of them together say was spent.
        reserved: dollars that what was submitted, and is not over, may cost at most, by the key of its lines.
        under_way: the questions of each batch that was submitted, and is not over, by the key of its lines.
        end: bytes up to the end of the last whole line; what follows is torn.
        finish: what the last line lacks: `b"\\n"`, or nothing.
        foreign: there is something in the file, and no line of it begins as a journal's.
    """

    def __init__(self, others: Callable[[dict[str, Any], int], None] | None = None) -> None:
        self.places: dict[str, int] = {}
        self._others = others
        self.lines = 0
        self.skipped = 0
        self.spent = NOTHING_SPENT
        self.reserved: dict[str, float] = {}
        self.under_way: dict[str, list[str]] = {}
        self._shares: dict[str, tuple[str, float]] = {}  # of that, by the question
        self._priced = 0
        self.end = 0
        self.finish = b""
        self._ours = False
        self._torn = b""

    def add(self, line: bytes) -> None:
        """The next line, with its newline; only the last one may lack it.

        Raises:
            TooDeep: it can be believed, and cannot be read from here.
        """
        self.lines += 1
        whole = line if line.endswith(b"\n") else line + b"\n"
        said = read_line(whole)
        if said is None and whole is not line:
            self._torn = line
            return
        if said is None:
            self.skipped += 1
            self._ours = self._ours or line.startswith(_HEAD)  # cut short, perhaps, and written on
        else:
            self._ours = True
            if "cost" in said or "units" in said:
                spent = spent_of_line(said)
                self.spent += spent
                self._priced += spent.cost > 0
            if "kind" in said:
                self._follow_batch(said)
                if self._others is not None:
                    self._others(said, self.end)
            elif "value" in said:
                self.places[said["key"]] = self.end
        self.end += len(line)
        if whole is not line:
            self.finish = b"\n"

    def _follow_batch(self, said: dict[str, Any]) -> None:
        key, kind = said["key"], said["kind"]
        if kind == "intent":
            questions: Any = said.get("questions")
            names = [one for one in questions if isinstance(one, str)] if isinstance(questions, list) else []  # pyright: ignore
            self.under_way[key] = names
            if "reserved" in said:
                amount = self.reserved[key] = amount_of(said["reserved"])
                self._shares.update((name, (key, amount / len(names))) for name in names)
        elif kind == "answer" and key in self._shares:  # its own line says what it cost
            name, share = self._shares.pop(key)
            if name in self.reserved:
                self.reserved[name] = max(0.0, self.reserved[name] - share)
        elif kind == "over":
            self.reserved.pop(key, None)
            self.under_way.pop(key, None)

    @property
    def usual(self) -> float | None:
        """Dollars that an item took, on average; None: no line says."""
        return self.spent.cost / self._priced if self._priced else None

    @property
    def foreign(self) -> bool:
        if self._ours:
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
            Unkeepable: a part is nothing that has the same text in every run.
        """
        digest = self._start.copy()
        digest.update(_json(canonical(parts)))
        key = digest.hexdigest()[:_KEY_DIGITS]
        again = self._seen.get(key, 0)
        self._seen[key] = again + 1
        return f"{key}.{again}" if again else key


def _json(value: object) -> bytes:
    # Not escaped: the halves of a surrogate pair would have the text of the whole.
    return sorted_compact(value).encode("utf-8", "surrogatepass")
