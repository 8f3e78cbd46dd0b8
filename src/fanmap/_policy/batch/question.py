"""What a captured request asks: whether it can travel in a batch, and under which key its answer is kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final, Literal, NamedTuple, cast
from urllib.parse import SplitResult, unquote, urlsplit

from fanmap._policy.json_text import sorted_compact

ProviderName = Literal["openai", "anthropic"]

_TAILS: Final[dict[str, ProviderName]] = {
    "/chat/completions": "openai",
    "/responses": "openai",
    "/embeddings": "openai",
    "/messages": "anthropic",
}
_HOSTS: Final[dict[ProviderName, re.Pattern[str]]] = {
    "openai": re.compile(
        r"(.+\.)?api\.openai\.com|.+\.(openai|cognitiveservices|services\.ai)\.azure\.(com|us|cn)", re.ASCII
    ),
    "anthropic": re.compile(r"api\.anthropic\.com", re.ASCII),
}
_DEPLOYMENT: Final = re.compile(r"(?P<root>.*)/deployments/(?P<name>[^/]+)(?P<tail>/.+)", re.DOTALL)
# Headers that change what an answer is or who pays for it: one batch has one value of each.
MEANINGFUL: Final = ("anthropic-version", "anthropic-beta", "openai-organization", "openai-project")
CREDENTIALS: Final = ("authorization", "x-api-key", "api-key")
_SHOWN: Final = ("api-version", "beta")  # of a query: anything else in it may be a key


class Question(NamedTuple):
    """A request that can travel in a batch.

    Attributes:
        provider: whose batch interface.
        root: where that lives: all of the URL before `/files`, `/batches` or `/messages`, without a password.
        query: of the URL, as Azure's `api-version`; "" for none.
        endpoint: the path as a batch names it.
        model: "" where the request names none.
        body: what it asks, parsed.
        digest: of what it asks which server, in hex: equal for equal questions, whoever asks them with whichever key.
    """

    provider: ProviderName
    root: str
    query: str
    endpoint: str
    model: str
    body: dict[str, Any]
    digest: str


class NotBatched(NamedTuple):
    """A request that goes to the wire.

    Attributes:
        why: "streaming"; a "path" that no batch is known for; or all but its "host" would do.
        base: of the URLs of that host, as `endpoints=` takes it; else "".
    """

    why: Literal["streaming", "host", "path"]
    base: str = ""


def read_question(
    method: str, url: str, headers: Mapping[str, str], body: bytes | None, endpoints: Iterable[str]
) -> Question | NotBatched:
    """What a request asks.

    Args:
        method: of the request.
        url: the whole of it.
        headers: by lower-case name.
        body: None where it is not there to be read.
        endpoints: the beginnings of URLs, other than the providers' own, whose servers take batches.
    """
    parts = urlsplit(url)
    tail = next((tail for tail in _TAILS if parts.path.endswith(tail)), None)
    if tail is None or method.upper() != "POST" or body is None:
        return NotBatched("path")
    provider = _TAILS[tail]
    try:
        said: object = json.loads(body)
    except (ValueError, RecursionError):
        return NotBatched("path")
    if not isinstance(said, dict):
        return NotBatched("path")
    asked = cast("dict[str, Any]", said)
    if asked.get("stream"):
        return NotBatched("streaming")
    asked.pop("stream", None)
    path, root = parts.path, parts.path[: -len(tail)]
    deployment = _DEPLOYMENT.fullmatch(path)
    if deployment is not None:  # Azure's older paths name the model, whatever the body says; a line has it in its body
        path, root = deployment["tail"], deployment["root"]
        asked["model"] = unquote(deployment["name"])
    model: object = asked.get("model")
    root = f"{_server(parts)}{root}"
    if not _takes_batches(provider, parts, endpoints):
        if not isinstance(model, str):  # of a chat, say, which has messages too
            return NotBatched("path")
        return NotBatched("host", root)
    version = path.rfind("/v1/")
    endpoint = path[version:] if version >= 0 else tail
    meaning = [headers.get(name) for name in MEANINGFUL[:2]]
    text = sorted_compact([provider, root, endpoint, asked, meaning])
    return Question(
        provider,
        root,
        parts.query,
        endpoint,
        model if isinstance(model, str) else "",
        asked,
        sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
    )


def is_own_host(provider: ProviderName, url: str) -> bool:
    """Is this the provider's own server, over TLS?"""
    parts = urlsplit(url)
    return parts.scheme == "https" and _HOSTS[provider].fullmatch(parts.hostname or "") is not None


def shown_query(query: str) -> str:
    """What of a query can be written down."""
    return "&".join(part for part in query.split("&") if part.partition("=")[0] in _SHOWN)


def _takes_batches(provider: ProviderName, parts: SplitResult, endpoints: Iterable[str]) -> bool:
    if _HOSTS[provider].fullmatch(parts.hostname or "") is not None:
        return True
    place, bases = f"{_server(parts)}{parts.path}", (urlsplit(known) for known in endpoints)
    return any(place.startswith(f"{_server(base)}{base.path.rstrip('/')}/") for base in bases)


def _server(parts: SplitResult) -> str:
    """Without a password."""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


class Group(NamedTuple):
    """Questions of one provider batch agree in all of this. It stays in memory: `account` comes from the key.

    Four digits of it are written down, too few to guess a key by.
    """

    provider: ProviderName
    root: str
    query: str
    endpoint: str
    model: str
    meaning: tuple[str | None, ...]
    account: bytes

    @property
    def shown_account(self) -> str:
        """What of the account can be written down."""
        return self.account[:2].hex()


def group_of(question: Question, headers: Mapping[str, str]) -> Group:
    """The provider batch that a question asked with these headers can travel in."""
    account = sha256(repr([headers.get(name) for name in CREDENTIALS]).encode("utf-8", "surrogatepass")).digest()
    meaning = tuple(headers.get(name) for name in MEANINGFUL)
    return Group(*question[:5], meaning, account)


def mark_of(item_key: str) -> str:
    """The beginning that the keys of one item's questions share."""
    return sha256(item_key.encode()).hexdigest()[:16]


class QuestionKeys:
    """The keys of one item's questions, as it asks them: equal ones in equal runs, whatever their order is.

    A key is what a question asks and its ordinal among equal ones of its item, not its place among all of them:
    under `gather` that would be another in each run. It is a `custom_id` to every provider.
    """

    def __init__(self, item_key: str) -> None:
        self.mark = mark_of(item_key)
        self.attempt = 1
        self._seen: dict[tuple[int, str], int] = {}

    def key(self, digest: str) -> str:
        """The next question's."""
        again = self._seen.get((self.attempt, digest), 0)
        self._seen[self.attempt, digest] = again + 1
        return f"{self.mark}-{sha256(f'{digest} {again} {self.attempt}'.encode()).hexdigest()[:24]}"


def item_of(key: str) -> str:
    """The mark of the item that a question is of."""
    return key[:16]
