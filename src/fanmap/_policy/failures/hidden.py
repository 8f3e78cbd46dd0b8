"""Repeats that went on below us: how many, and what the last of them ended with.

Pure. A client that repeats by itself hides refusals from everybody else. Some say how often they did, in the request,
the response or their own error; some put an error of their own above the server's, which says that their time or
their attempts are over and nothing of why.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import cast

from fanmap._policy.failures.connections import chain
from fanmap._policy.failures.replies import exhausted, header_table
from fanmap._policy.foreign import as_int, as_record, class_names, safe_getattr

_MOST = 1000


def behind(error: Exception) -> Exception:
    """The server's error behind one that only says that the repeats are over; else the error itself.

    google.api_core's and tenacity's RetryError, databricks-sdk's TimeoutError and RuntimeError; and, without any
    repeat, huggingface_hub's errors of text generation. Any other error that came from a server's may mean what it
    likes.
    """
    cause = _cause(error)
    if cause is None:
        return error
    reworded = ("huggingface_hub", "TextGenerationError") in class_names(error)
    return cause if reworded or _ends_repeats(error, cause) else error


def _cause(error: BaseException) -> Exception | None:
    cause = safe_getattr(error, "cause") if ("google", "RetryError") in class_names(error) else error.__cause__
    return cause if isinstance(cause, Exception) else None


def _ends_repeats(error: BaseException, cause: Exception) -> bool:
    names = class_names(error)
    return (
        ("google", "RetryError") in names
        or ("tenacity", "RetryError") in names
        or (type(error) in (TimeoutError, RuntimeError) and ("databricks", "DatabricksError") in class_names(cause))
    )


def client_retries(error: BaseException) -> int:
    """How often the client below has sent this request again by itself; 0 when it does not say.

    openai and anthropic say it in the request's `x-stainless-retry-count` (litellm raises its own exception from
    theirs, so causes are looked at too), botocore in the response's metadata, urllib3 in the response's history.
    An error that only says that the repeats are over stands for one at least.
    """
    try:
        for one in chain(error):
            said = _retries_said(one)
            if said is not None:
                return said
    except Exception:
        pass
    return 0


def urllib3_repeats(response: object) -> int | None:
    """How often urllib3 had sent the request of this response of requests' before; None: it keeps no history."""
    history = safe_getattr(safe_getattr(safe_getattr(response, "raw"), "retries"), "history")
    if not isinstance(history, tuple) or not history:
        return None
    tries = islice(cast("Iterable[object]", history), _MOST)
    return sum(safe_getattr(one, "redirect_location") is None for one in tries)


def _retries_said(error: BaseException) -> int | None:
    response = safe_getattr(error, "response")
    if (aws := as_record(response)) is not None:
        metadata = as_record(aws.get("ResponseMetadata")) or {}
        return max(0, as_int(metadata.get("RetryAttempts")) or 0)
    for request in (safe_getattr(response, "request"), safe_getattr(error, "request")):
        count = header_table(safe_getattr(request, "headers")).get("x-stainless-retry-count", "")
        if count.isascii() and count.isdigit() and len(count) <= 6:
            return int(count)
    repeats = urllib3_repeats(response)
    if repeats is not None:
        return repeats
    if ("tenacity", "RetryError") in class_names(error):
        attempts = as_int(safe_getattr(safe_getattr(error, "last_attempt"), "attempt_number"))
        return max(0, min(_MOST, (attempts or 1) - 1))
    cause = _cause(error)
    return 1 if exhausted(error) is not None or (cause is not None and _ends_repeats(error, cause)) else None
