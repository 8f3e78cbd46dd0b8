"""What a client's exception carries, wherever this client keeps it.

Pure: reads attributes, does no I/O. It must not know what a status or a code means (`signals`), nor what a wait is
(`waits`). No client is imported: openai and anthropic moved from httpx to httpx2 and kept their attributes, so shapes
are what is recognised, and names of classes where there is no shape.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import cast

from fanmap._policy.failures.bodies import Record, read_body
from fanmap._policy.failures.connections import chain
from fanmap._policy.failures.rpc import Rpc, read_rpc, status_of
from fanmap._policy.failures.unread import arrived
from fanmap._policy.foreign import as_int, as_record, class_names, safe_getattr

_MOST_HEADERS = 256
_LITELLM_DEPTH = 4  # its exception comes from one of its own, that from the client's, that from httpx's

_CODES = ("code", "type", "error_code", "status", "reason", "error_type", "limit_source", "Code")
"""Where records name what happened in a word for machines; `reason` is google.rpc.ErrorInfo's, `limit_source`
OpenRouter's, `Code` botocore's."""

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[_.-][A-Za-z0-9]+)*", re.ASCII)

_OF_CLASS = {
    "databricks": {
        "BadRequest": 400, "Unauthenticated": 401, "PermissionDenied": 403, "NotFound": 404, "ResourceConflict": 409,
        "TooManyRequests": 429, "Cancelled": 499, "InternalError": 500, "NotImplemented": 501,
        "TemporarilyUnavailable": 503, "DeadlineExceeded": 504,
    },
}  # fmt: skip
"""Clients that drop the status and make a class of it, by their top-level package (databricks-sdk 0.162)."""

_OF_AWS_CODE = {
    "throttlingexception": 429, "modelnotreadyexception": 429, "servicequotaexceededexception": 429,
    "toomanyrequestsexception": 429, "serviceunavailableexception": 503, "badgatewayexception": 502,
    "modeltimeoutexception": 408, "conflictexception": 409, "accessdeniedexception": 403,
    "modelstreamerrorexception": 500, "modelstreamerror": 500, "dependencyfailedexception": 500,
    "internalserverexception": 500, "internalstreamfailure": 500, "servicefailureexception": 500,
    "resourcenotfoundexception": 404, "validationexception": 400,
}  # fmt: skip
"""Of the events that end a stream of Bedrock, its agents, SageMaker, Lex and Polly (botocore 1.44's models): botocore
gives them no status. modelStreamErrorException and dependencyFailedException have a 424 of their own, "retry your
request", and no meaning beyond that."""

_EXHAUSTED = re.compile(r"too many (\d{3}) error responses")  # urllib3.exceptions.ResponseError


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's answer as far as the exception tells it.

    Attributes:
        status: HTTP status, None where there was none.
        headers: by name in lower case; equal names are joined with `, ` as HTTP has it.
        records: the JSON objects of the body, outermost first.
        codes: every code and type the server named, in lower case.
        text: every message, one a line.
    """

    status: int | None
    headers: dict[str, str]
    records: tuple[Record, ...]
    codes: frozenset[str]
    text: str


def read_reply(error: BaseException) -> Reply:
    """Gather what the exception says about the server's answer."""
    response = safe_getattr(error, "response")
    if response is None:  # never `if not response`: bool(requests.Response) is False for a 429
        response = safe_getattr(error, "raw_response")
    rpc = read_rpc(error)
    aws = as_record(response)
    metadata = (as_record(aws.get("ResponseMetadata")) if aws is not None else None) or {}
    records, text = read_body(_documents(error, response, aws, rpc))
    codes = frozenset(_codes(error, records))
    return Reply(
        status=rpc.status if rpc is not None else _status(error, response, metadata, codes if aws is not None else ()),
        headers=_all_headers(error, response, metadata, rpc),
        records=records,
        codes=codes,
        text=text,
    )


def header_table(headers: object) -> dict[str, str]:
    """Any client's headers by lower-case name; {} for what are none.

    Iterated rather than asked: a plain dict is case-sensitive, CIMultiDict repeats names, and keys
    may be bytes.
    """
    table: dict[str, str] = {}
    try:
        items = safe_getattr(headers, "items")
        pairs = cast("Iterable[object]", items() if callable(items) else headers)
        for pair in islice(pairs, _MOST_HEADERS):
            key, value = cast("tuple[object, object]", pair)
            name, text = _plain(key).lower(), _plain(value).strip()
            table[name] = f"{table[name]}, {text}" if name in table else text
    except Exception:
        pass
    return table


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return str(value) if isinstance(value, (str, int, float)) else ""


def _all_headers(error: object, response: object, metadata: Record, rpc: Rpc | None) -> dict[str, str]:
    # Weakest first: litellm's exceptions carry an empty response beside the headers that came.
    table = header_table(metadata.get("HTTPHeaders") if rpc is None else rpc.metadata)
    for source, name in ((error, "litellm_response_headers"), (error, "headers"), (response, "headers")):
        table |= header_table(safe_getattr(source, name))
    return table


def _status(error: BaseException, response: object, metadata: Record, aws_codes: Iterable[str]) -> int | None:
    # `code` comes late: aiohttp's is deprecated and warns when it is read, Gemini's is the status.
    for source, name in (
        (error, "status_code"),
        (response, "status_code"),
        (error, "status"),
        (response, "status"),
        (error, "http_status"),  # voyageai
        (error, "code"),
    ):
        status = as_int(safe_getattr(source, name))
        if status is not None and 100 <= status <= 599:
            return status
    status = as_int(metadata.get("HTTPStatusCode"))
    if status is not None and 100 <= status <= 599:
        return status
    for package, name in class_names(error):
        if name in _OF_CLASS.get(package, ()):
            return _OF_CLASS[package][name]
    # google-api-core: its class for an UNKNOWN has no HTTP status.
    rpc_code = safe_getattr(safe_getattr(error, "grpc_status_code"), "name")
    if isinstance(rpc_code, str):
        return status_of(rpc_code)
    return next((_OF_AWS_CODE[code] for code in aws_codes if code in _OF_AWS_CODE), None) or exhausted(error)


def exhausted(error: BaseException) -> int | None:
    """The status that urllib3's own repeats ended with, alone or below requests; nothing else of it is kept."""
    names = class_names(error)
    if ("requests", "RetryError") in names:
        args = safe_getattr(error, "args")
        error = cast("tuple[BaseException, ...]", args)[0] if isinstance(args, tuple) and args else error
    elif ("urllib3", "MaxRetryError") not in names:
        return None
    found = _EXHAUSTED.search(str(safe_getattr(error, "reason")))
    return None if found is None else int(found[1])


def _documents(error: BaseException, response: object, aws: object, rpc: Rpc | None) -> Iterator[object]:
    """Bodies, parsed or not, and messages that the client made of them."""
    if rpc is not None:
        yield from rpc.documents
        return
    for name in ("body", "details", "json_body", "http_body"):  # the last two are voyageai's
        yield safe_getattr(error, name)
    # litellm puts Gemini's and Anthropic's whole body into the message, behind a prefix.
    yield safe_getattr(error, "message")
    yield safe_getattr(error, "error")  # ollama
    yield aws
    yield _kept(response)
    names = class_names(error)
    if any(package == "litellm" for package, _ in names):  # it keeps the status, and a message that it shortens
        for one in islice(chain(error), 1, _LITELLM_DEPTH):
            yield safe_getattr(one, "body")
            yield _kept(safe_getattr(one, "response"))
    if ("urllib", "HTTPError") in names:
        yield arrived(error)
    if ("databricks", "DatabricksError") in names:
        args = safe_getattr(error, "args")
        yield cast("tuple[object, ...]", args)[0] if isinstance(args, tuple) and args else None
        yield {"retry_after": safe_getattr(error, "retry_after_secs")}


def _kept(response: object) -> object:
    """The body of a response, where it has been read.

    Not the public `.content`: on a requests response opened with stream=True it reads the socket. requests, httpx and
    httpx2 keep a body that has been read under this one name.
    """
    try:
        return vars(response).get("_content")
    except TypeError:
        return None


def _codes(error: object, records: Iterable[Record]) -> Iterator[str]:
    named = [safe_getattr(error, name) for name in ("type", "error_code", "rate_limit_type")]
    if as_int(safe_getattr(error, "status")) is None:  # aiohttp's `code` warns, and its `status` says it all
        named.append(safe_getattr(error, "code"))
    for record in records:
        named.extend(record.get(name) for name in _CODES)
        # {"error": "rate_limit_exceeded"}: a word, and no sentence.
        named.extend(word for word in (record.get("error"),) if isinstance(word, str) and _IDENTIFIER.fullmatch(word))
    for name in named:
        if isinstance(name, str):
            yield name.lower()
        elif (number := as_int(name)) is not None:
            yield str(number)
