"""urllib's body: looked at as far as it has arrived, never waited for, never taken from whoever reads it later."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from fanmap._policy.failures.signals import read_error
from fanmap._policy.failures.unread import arrived

SPENT = json.dumps({"error": {"message": "x", "code": "insufficient_quota"}}).encode()


@contextmanager
def answering(*parts: bytes) -> Iterator[tuple[str, threading.Event]]:
    """A server of one answer: the first part at once, the others when told, and only then does it hang up."""
    told = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(parts[0])
                told.wait(120)
                for part in parts[1:]:
                    connection.sendall(part)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}", told
        finally:
            told.set()
            thread.join()


def refused(url: str, timeout: float | None) -> urllib.error.HTTPError:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url, timeout=timeout)
    return caught.value


def head(length: int | str) -> bytes:
    framing = b"transfer-encoding: chunked" if length == "chunked" else f"content-length: {length}".encode()
    return b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\n" + framing + b"\r\n\r\n"


@pytest.mark.parametrize("timeout", [None, 30.0])
def test_what_came_with_the_headers_is_seen_and_left_for_its_reader(timeout: float | None) -> None:
    with answering(head(len(SPENT)) + SPENT) as (url, _), refused(url, timeout) as error:
        assert arrived(error) == SPENT
        assert read_error(error, wall=0.0).kind == "spent"
        assert arrived(error) == SPENT
        assert error.read() == SPENT
        assert read_error(error, wall=0.0).kind == "rate"  # it is gone, and nothing hangs


def test_what_has_not_arrived_is_not_waited_for() -> None:
    with answering(head(len(SPENT)), SPENT) as (url, told), refused(url, None) as error:
        assert not arrived(error)  # would hang: the server waits for us
        assert read_error(error, wall=0.0).kind == "rate"
        told.set()
        assert error.read() == SPENT


def test_half_of_a_body_is_seen_as_far_as_it_goes() -> None:
    with answering(head(len(SPENT)) + SPENT[:30], SPENT[30:]) as (url, told), refused(url, 30.0) as error:
        assert arrived(error) == SPENT[:30]
        assert read_error(error, wall=0.0).kind == "rate"
        told.set()
        assert error.read() == SPENT


def test_a_chunk_is_seen_within_its_frame_and_the_framing_is_left_alone() -> None:
    chunked = f"{len(SPENT):x}\r\n".encode() + SPENT + b"\r\n0\r\n\r\n"
    with answering(head("chunked") + chunked) as (url, _), refused(url, None) as error:
        assert arrived(error) == chunked
        assert read_error(error, wall=0.0).kind == "spent"
        assert error.read() == SPENT


def test_the_patience_of_a_socket_is_what_it_was() -> None:
    for timeout in (None, 30.0):
        with answering(head(2) + b"{}") as (url, _), refused(url, timeout) as error:
            arrived(error)
            fp: Any = error.fp
            assert fp.fp.raw._sock.gettimeout() == timeout
            error.read()


@pytest.mark.parametrize(
    "error",
    [
        None, 7, ValueError(), urllib.error.HTTPError("u", 429, "m", {}, None),  # type: ignore[arg-type]
        SimpleNamespace(fp=None), SimpleNamespace(fp=SimpleNamespace(fp=SimpleNamespace(raw=7))),
    ],
)  # fmt: skip
def test_where_nobody_can_tell_it_is_none(error: object) -> None:
    assert arrived(error) is None
    if isinstance(error, urllib.error.HTTPError):
        assert read_error(error, wall=0.0).kind == "rate"
