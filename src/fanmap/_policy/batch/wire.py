"""What providers' modules share: calls over the wire as values, and what every one of them can say of a batch."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias, TypeVar, cast

from fanmap._policy.batch.question import Question

T = TypeVar("T")
SKEW: Final = 3600.0  # seconds by which a provider's clock and ours may differ
_WORDS: Final = 500  # characters of a provider's words that are shown


class Call(NamedTuple):
    """One HTTP request to a batch interface.

    Attributes:
        safe: sent again after a failure it costs nothing: all but the making of a batch.
        spooled: the answer may be large and goes to a file.
        wants: what a successful answer has at least; see `is_answer`.
    """

    method: str
    url: str
    body: bytes = b""
    kind: str = "application/json"
    safe: bool = True
    spooled: bool = False
    wants: str = "id"


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: bytes


Flow: TypeAlias = Generator[Call, Answer, T]


class Refused(Exception):
    """Raised inside a flow: the server said no. Its words are in `words`."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body

    @property
    def words(self) -> str:
        """The provider's own message, or what there is of the body."""
        said = document(self.body)
        error = said.get("error")
        message = cast("dict[str, Any]", error).get("message") if isinstance(error, dict) else error
        text = message if isinstance(message, str) else self.body.decode("utf-8", "replace")
        return text[:_WORDS]


class Batch(NamedTuple):
    """What a provider says of a batch.

    Attributes:
        id: the provider's.
        state: "running"; "ended", with or without answers; "failed": nothing of it was done; "cancelled".
        said: the provider's own word for that.
        finished: of its requests, those that are over.
        total: requests in it.
        answered: of those that are over, the ones with an answer that is paid.
        results: URLs of what has answers.
        problem: the code of what was wrong, where it failed.
        words: the provider's words for that.
    """

    id: str
    state: Literal["running", "ended", "failed", "cancelled"]
    said: str
    finished: int
    total: int
    answered: int
    results: tuple[str, ...] = ()
    problem: str = ""
    words: str = ""


class Line(NamedTuple):
    """A line of results.

    Attributes:
        key: the question's.
        status: of the HTTP response that it stands for; None: it was never answered (expired, cancelled).
        body: of that response.
    """

    key: str
    status: int | None
    body: Any


class Place(NamedTuple):
    """Where a batch lives."""

    root: str
    query: str
    endpoint: str

    def url(self, path: str, query: str = "") -> str:
        """The URL of something there: its path and its own query, beside the place's."""
        both = "&".join(part for part in (query, self.query) if part)
        return f"{self.root}{path}?{both}" if both else f"{self.root}{path}"


class Provider(Protocol):
    """A provider's batch interface; see `openai` and `anthropic`."""

    most_lines: int
    most_bytes: int
    overhead: int  # bytes around each line

    def line(self, key: str, question: Question) -> bytes:
        """A question as a hand-in has it."""
        ...

    def weight(self, question: Question) -> int:
        """How much of `most_lines` it takes."""
        ...

    def create(self, place: Place, name: str, lines: Sequence[bytes]) -> Flow[str]:
        """Hand in; returns the batch's id."""
        ...

    def look(self, place: Place, batch: str) -> Flow[Batch]:
        """Where does it stand?"""
        ...

    def cancel(self, place: Place, batch: str) -> Flow[Batch]:
        """End it; what is done stays done."""
        ...

    def find(self, place: Place, name: str, began: float, count: int) -> Flow[tuple[list[Batch], bool]]:
        """Batches that may be the one handed in under this name then; and is it surely that one?"""
        ...

    def read_line(self, text: bytes) -> Line | None:
        """A line of results; None: it cannot be read."""
        ...


def document(body: bytes) -> dict[str, Any]:
    """A JSON object; empty where it is none."""
    try:
        said: object = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", said) if isinstance(said, dict) else {}


def is_answer(call: Call, answer: Answer) -> bool:
    """Does a success say what was asked? A page of something in between, such as a proxy, does not."""
    found = document(answer.body).get(call.wants)
    return answer.status >= 300 or call.spooled or (isinstance(found, (str, list)) and found != "")


def asked(call: Call) -> Flow[dict[str, Any]]:
    """What a successful answer says.

    Raises:
        Refused: it is none.
    """
    answer = yield call
    if answer.status >= 300 or not is_answer(call, answer):
        raise Refused(answer.status, answer.body)
    return document(answer.body)


def text_at(said: dict[str, Any], name: str) -> str:
    """A text field; "" where there is none."""
    value = said.get(name)
    return value if isinstance(value, str) else ""


def object_at(said: dict[str, Any], name: str) -> dict[str, Any]:
    """An object; empty where there is none."""
    value = said.get(name)
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def count_at(said: dict[str, Any], name: str) -> int:
    """A count; 0 where there is none."""
    value = said.get(name)
    return value if isinstance(value, int) and value > 0 else 0


def objects_in(said: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects in a list."""
    value = said.get(name)
    if not isinstance(value, list):
        return []
    return [cast("dict[str, Any]", one) for one in cast("list[object]", value) if isinstance(one, dict)]
