"""How each client's response is read: duck-typed, by its public face, and no further than its reader has read it.

None of the clients is imported here. A body that is not there yet is seen as its reader takes it (`watching`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from typing_extensions import override

from fanmap._drive.wire.watching import of_class, pass_on, pass_on_async, see, stored, watched_events, watched_reader
from fanmap._policy.failures.hidden import client_retries, urllib3_repeats
from fanmap._policy.foreign import as_mapping
from fanmap._policy.tokens.body import Documents, Passing, Pieces

Pairs = Iterable[tuple[str | bytes, str | bytes]]

RAISE_AT_ONCE: Final = {"x-should-retry": "false", "x-fanmap-mark": "1"}
"""Headers of a failed response that openai's and anthropic's clients are to raise and not to repeat, and by which
`_policy.failures.signals` knows that the server has not said so."""


class Wire:
    """One kind of client. What it answers here is what httpx, httpx2 and requests agree on."""

    def status(self, response: Any) -> int:
        """Its HTTP status."""
        return response.status_code  # type: ignore[no-any-return]

    def headers(self, response: Any) -> Pairs:
        """Its headers, as pairs."""
        return response.headers.items()  # type: ignore[no-any-return]

    def body(self, response: Any) -> object:
        """Its body: bytes or, where the client has parsed it already, the document; None: it has not been read."""
        raise NotImplementedError

    def watch(self, response: Any, *, events: bool, encoded: bool) -> Passing:
        """See its body as its reader takes it.

        Args:
            response: whose body has not been read.
            events: it is a stream of server-sent events.
            encoded: it is compressed.
        """
        raise NotImplementedError

    def mark(self, response: Any, marks: Mapping[str, str]) -> None:
        """Set these headers, where the client can be told something by them."""
        response.headers.update(marks)

    def repeats(self, response: Any) -> int:  # noqa: ARG002
        """How often the client itself had sent this request before, inside the hooked method."""
        return 0

    def repeats_before(self, error: Exception) -> int:
        """The same, of a request that came to nothing but this."""
        return self.repeats(getattr(error, "response", None))

    def model(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:  # noqa: ARG002
        """The model that the request names, where the response does not."""
        return None

    def address(self, response: Any) -> str:
        """What was asked, without a query, which may hold a key."""
        return str(response.url).partition("?")[0]

    def fingerprint(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int | None:
        """A number that requests share which ask the same; None: what this one asks cannot be seen."""
        try:
            return self._fingerprint(args, kwargs)
        except Exception:  # a body that is no bytes, or has not been read
            return None

    def _fingerprint(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int | None:
        sent: Any = args[0] if args else kwargs["request"]
        if "multipart" in sent.headers.get("content-type", ""):
            return None  # it has another boundary each time
        return hash((sent.method, str(sent.url), self._sent(sent)))

    def _sent(self, request: Any) -> bytes | str | None:
        """A request's body; raises where it is not there as a whole."""
        raise NotImplementedError


class _Httpx(Wire):
    """httpx and httpx2."""

    def __init__(self, *, is_async: bool) -> None:
        self._is_async = is_async

    @override
    def headers(self, response: Any) -> Pairs:
        raw: Pairs = response.headers.raw  # `items()` would decode and merge them all
        return raw

    @override
    def body(self, response: Any) -> object:
        # `content` raises as long as it has not been read.
        try:
            return response.content
        except Exception:
            return None

    @override
    def _sent(self, request: Any) -> bytes | str | None:
        return request.content  # type: ignore[no-any-return]

    @override
    def watch(self, response: Any, *, events: bool, encoded: bool) -> Passing:
        passing = Pieces(events=events)
        # `iter_bytes` takes its bytes from `iter_raw`, and all else from `iter_bytes`.
        name = "iter_bytes" if encoded else "iter_raw"
        if self._is_async:
            see(response, "a" + name, passing, pass_on_async)
        else:
            see(response, name, passing, pass_on)
        return passing


class _Requests(Wire):
    @override
    def body(self, response: Any) -> object:
        # Not `content`: with stream=True that reads the socket. What has been read is kept under this name.
        content = stored(response).get("_content")
        return content if isinstance(content, bytes) else None

    @override
    def _sent(self, request: Any) -> bytes | str | None:
        if not isinstance(request.body, (bytes, str, type(None))):
            raise TypeError
        return request.body

    @override
    def watch(self, response: Any, *, events: bool, encoded: bool) -> Passing:
        passing = Pieces(events=events)
        see(response, "iter_content", passing, pass_on)  # decoded, and everything else goes through it
        return passing

    @override
    def repeats(self, response: Any) -> int:
        return urllib3_repeats(response) or 0  # an adapter's `max_retries`

    @override
    def repeats_before(self, error: Exception) -> int:
        return client_retries(error)


class _Aiohttp(Wire):
    @override
    def status(self, response: Any) -> int:
        return response.status  # type: ignore[no-any-return]

    @override
    def body(self, response: Any) -> object:
        return None  # nothing is read when the headers are handed over

    @override
    def watch(self, response: Any, *, events: bool, encoded: bool) -> Passing:
        passing = Pieces(events=events)
        # What comes out of it is decoded, unless the session was told not to.
        response.content = of_class(watched_reader, response.content)(response.content, passing)
        return passing

    @override
    def _fingerprint(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int | None:
        return _hash_of([*map(str, args), *map(kwargs.get, ("method", "str_or_url", "params", "data", "json"))])

    @override
    def mark(self, response: Any, marks: Mapping[str, str]) -> None:
        pass  # its headers cannot be set, and it repeats nothing by itself


class _Botocore(Wire):
    @override
    def status(self, response: Any) -> int:
        return response["ResponseMetadata"]["HTTPStatusCode"]  # type: ignore[no-any-return]

    @override
    def headers(self, response: Any) -> Pairs:
        return response["ResponseMetadata"]["HTTPHeaders"].items()  # type: ignore[no-any-return]

    @override
    def body(self, response: Any) -> object:
        return response

    @override
    def watch(self, response: Any, *, events: bool, encoded: bool) -> Passing:
        passing = Documents()
        for value in response.values():
            if (type(value).__module__, type(value).__name__) == ("botocore.eventstream", "EventStream"):
                value.__class__ = of_class(watched_events, value)
                value.fanmap_passing = passing
        return passing

    @override
    def mark(self, response: Any, marks: Mapping[str, str]) -> None:
        pass

    @override
    def repeats(self, response: Any) -> int:
        answer = as_mapping(response)
        metadata = None if answer is None else as_mapping(answer.get("ResponseMetadata"))
        said = None if metadata is None else metadata.get("RetryAttempts")
        return said if isinstance(said, int) and 0 < said < 1000 else 0

    @override
    def address(self, response: Any) -> str:
        return "https://bedrock-runtime.us-east-1.amazonaws.com"  # by which Bedrock's prices are known

    @override
    def model(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
        parameters = as_mapping(args[1] if len(args) > 1 else kwargs.get("api_params"))
        model = None if parameters is None else parameters.get("modelId")
        return model if isinstance(model, str) else None

    @override
    def _fingerprint(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int | None:
        return _hash_of([*args, kwargs])


def _hash_of(plain: object) -> int:
    """Of what JSON can say, and bytes; raises for all else."""
    return hash(json.dumps(plain, default=_hash_of_bytes))


def _hash_of_bytes(value: object) -> int:
    if isinstance(value, (bytes, bytearray)):
        return hash(bytes(value))
    raise TypeError


HTTPX = _Httpx(is_async=False)
ASYNC_HTTPX = _Httpx(is_async=True)
REQUESTS = _Requests()
AIOHTTP = _Aiohttp()
BOTOCORE = _Botocore()
