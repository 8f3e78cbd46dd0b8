"""`fanmap batch status FILE` and `fanmap batch cancel FILE`.

The file is only read, and without its lock: a run may be at work in it. A key from the environment goes to the
provider's own host, or to the one that the environment names as its base URL, and to no other that a file may name.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from fanmap._drive.batch.posting import PROVIDERS
from fanmap._failure import CommandError
from fanmap._policy.batch.job import HandIn, Job
from fanmap._policy.batch.question import is_own_host
from fanmap._policy.batch.wire import Answer, Batch, Call, Flow, Refused
from fanmap._policy.journals.journal import Reading, TooDeep

_PATIENCE: Final = 30.0  # seconds for one request
_KEYS: Final = {"openai": "OPENAI_API_KEY", "azure": "AZURE_OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}
_BASES: Final = {"openai": "OPENAI_BASE_URL", "azure": "AZURE_OPENAI_ENDPOINT", "anthropic": "ANTHROPIC_BASE_URL"}


def batch(what: Literal["status", "cancel"], path: str) -> int:
    """Run the command.

    Returns:
        0; 1 where a batch could not be asked about or cancelled.

    Raises:
        CommandError: the file cannot be read, or is no job's.
    """
    job, results, skipped = _read(path)
    under_way = list(job.under_way.values())
    _tell(
        f"{path}: results: {results}, answers from batches: {len(job.answers)}, batches in progress: {len(under_way)}"
    )
    if skipped:
        _tell(f"{skipped} damaged record(s) skipped: a batch that only they name is not listed")
    failed = 0
    for hand_in in under_way:
        try:
            said = _ask(what, hand_in)
        except CommandError as failure:
            failed += 1
            said = str(failure)
        _tell(f"{hand_in.id or '(no id yet)'} at {hand_in.place.root}, {len(hand_in.questions)} requests: {said}")
    if what == "cancel" and under_way and not failed:
        _tell("answers received so far are kept: the next call of batch(), or of `fanmap run --batch`, collects them")
    return 1 if failed else 0


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _read(path: str) -> tuple[Job, int, int]:
    job = Job()
    reading = Reading(job.add)
    try:
        with open(path, "rb") as file:
            for line in file:
                reading.add(line)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", status=2) from error
    except TooDeep as error:
        raise CommandError(f"{path}: a record is nested too deeply to be read", status=2) from error
    if reading.foreign:
        raise CommandError(f"{path} is not a fanmap journal", status=2)
    return job, len(reading.places), reading.skipped


def _ask(what: Literal["status", "cancel"], hand_in: HandIn) -> str:
    if not hand_in.id:
        return "the next identical call checks whether it was submitted"
    headers = _headers(hand_in, os.environ)
    provider = PROVIDERS[hand_in.provider]
    flow = provider.look if what == "status" else provider.cancel
    try:
        found = _sent(flow(hand_in.place, hand_in.id), headers)
    except Refused as refusal:
        raise CommandError(f"status {refusal.status}, {refusal.words}", status=1) from refusal
    return f"{found.said}, {found.finished} of {found.total or len(hand_in.questions)} requests finished"


def _headers(hand_in: HandIn, environment: Mapping[str, str]) -> dict[str, str]:
    """The key for this batch, where it may go there."""
    parts = urlsplit(hand_in.place.root)
    azure = hand_in.provider == "openai" and (parts.hostname or "").endswith((".azure.com", ".azure.us", ".azure.cn"))
    kind = "azure" if azure else hand_in.provider
    named = urlsplit(environment.get(_BASES[kind], ""))
    if not (is_own_host(hand_in.provider, hand_in.place.root) or named[:2] == parts[:2]):
        raise CommandError(f"its server is not the provider's own: set {_BASES[kind]} to send a key there", status=1)
    key = environment.get(_KEYS[kind])
    if not key:
        raise CommandError(f"set {_KEYS[kind]} to ask the provider", status=1)
    if not (key.isascii() and key.isprintable()):
        raise CommandError(f"{_KEYS[kind]} holds what no key does, such as a line break", status=1)
    if kind == "anthropic":
        return {"x-api-key": key, "anthropic-version": "2023-06-01"}
    return {"api-key": key} if azure else {"authorization": f"Bearer {key}"}


def _sent(flow: Flow[Batch], headers: Mapping[str, str]) -> Batch:
    try:
        call = next(flow)
        while True:
            call = flow.send(_exchange(call, headers))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A key follows no redirect."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _exchange(call: Call, headers: Mapping[str, str]) -> Answer:
    body = call.body if call.method == "POST" else None
    request = urllib.request.Request(call.url, body, dict(headers), method=call.method)
    try:
        try:
            response: Any = urllib.request.build_opener(_NoRedirect).open(request, timeout=_PATIENCE)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            return Answer(response.status, response.read())
    except (OSError, HTTPException) as error:
        raise CommandError(f"the server cannot be reached ({type(error).__name__})", status=1) from error
