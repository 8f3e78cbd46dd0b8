"""gRPC errors by their code, and what is packed in their metadata, byte by byte."""

from __future__ import annotations

import enum
import itertools
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from fanmap._policy.failures.rpc import Rpc, read_rpc, unpack
from fanmap._policy.failures.signals import read_error


class Code(enum.Enum):
    """As grpc.StatusCode: the number is of no use, its value is a pair."""

    CANCELLED = (1, "cancelled")
    UNKNOWN = (2, "unknown")
    INVALID_ARGUMENT = (3, "invalid argument")
    DEADLINE_EXCEEDED = (4, "deadline exceeded")
    NOT_FOUND = (5, "not found")
    ALREADY_EXISTS = (6, "already exists")
    PERMISSION_DENIED = (7, "permission denied")
    RESOURCE_EXHAUSTED = (8, "resource exhausted")
    FAILED_PRECONDITION = (9, "failed precondition")
    ABORTED = (10, "aborted")
    OUT_OF_RANGE = (11, "out of range")
    UNIMPLEMENTED = (12, "unimplemented")
    INTERNAL = (13, "internal")
    UNAVAILABLE = (14, "unavailable")
    DATA_LOSS = (15, "data loss")
    UNAUTHENTICATED = (16, "unauthenticated")


RpcError = type("RpcError", (Exception,), {"__module__": "grpc"})


class AioRpcError(RpcError):  # type: ignore[misc, valid-type]
    """As of grpc.aio: no `done`."""

    def __init__(self, code: Any, details: Any = "", trailing: Any = (), initial: Any = ()) -> None:
        super().__init__()
        self._said = {"code": code, "details": details, "trailing": trailing, "initial": initial}

    def code(self) -> Any:
        return self._said["code"]

    def details(self) -> Any:
        return self._said["details"]

    def trailing_metadata(self) -> Any:
        return self._said["trailing"]

    def initial_metadata(self) -> Any:
        return self._said["initial"]


class Call(AioRpcError):
    """As of a call in threads: an error that may still be under way."""

    def __init__(self, *said: Any, done: object) -> None:
        super().__init__(*said)
        self._done = done

    def done(self) -> object:
        return self._done


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def delay(seconds: int, nanos: int = 0) -> tuple[str, bytes]:
    return "google.rpc.RetryInfo", field(1, field(1, seconds) + field(2, nanos))


def quota(*ids: str, metric: str = "", description: str = "") -> tuple[str, bytes]:
    return "google.rpc.QuotaFailure", b"".join(
        field(1, field(1, "subject") + field(2, description) + field(4, metric) + field(5, one)) for one in ids
    )


def info(reason: str, **metadata: str) -> tuple[str, bytes]:
    pairs = b"".join(field(3, field(1, key) + field(2, value)) for key, value in metadata.items())
    return "google.rpc.ErrorInfo", field(1, reason) + field(2, "googleapis.com") + pairs


def status(*details: tuple[str, bytes]) -> bytes:
    any_of = [field(1, f"type.googleapis.com/{kind}") + field(2, data) for kind, data in details]
    return field(1, 8) + field(2, "message") + b"".join(field(3, one) for one in any_of)


def refused(*details: tuple[str, bytes], text: str = "", code: Code = Code.RESOURCE_EXHAUSTED) -> AioRpcError:
    return AioRpcError(code, text, (("date", "today"), ("grpc-status-details-bin", status(*details))))


def said(error: BaseException) -> tuple[str, float | None]:
    verdict = read_error(error, wall=0.0)
    return verdict.kind, verdict.wait


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (Code.RESOURCE_EXHAUSTED, "rate"), (Code.UNAVAILABLE, "overloaded"), (Code.DEADLINE_EXCEEDED, "transient"),
        (Code.ABORTED, "transient"), (Code.INTERNAL, "transient"), (Code.UNKNOWN, "transient"),
        (Code.UNAUTHENTICATED, "forbidden"), (Code.PERMISSION_DENIED, "forbidden"),
        (Code.INVALID_ARGUMENT, "permanent"), (Code.NOT_FOUND, "permanent"), (Code.ALREADY_EXISTS, "permanent"),
        (Code.FAILED_PRECONDITION, "permanent"), (Code.OUT_OF_RANGE, "permanent"), (Code.CANCELLED, "permanent"),
        (Code.UNIMPLEMENTED, "permanent"), (Code.DATA_LOSS, "permanent"),
    ],
)  # fmt: skip
def test_a_code_has_its_kind(code: Code, kind: str) -> None:
    assert said(AioRpcError(code)) == (kind, None)
    assert said(Call(code, done=True)) == (kind, None)
    assert said(AioRpcError(code, "some text", None, None)) == (kind, None)


@pytest.mark.parametrize("done", [False, None, 1, "yes"])
def test_a_call_that_is_not_over_is_not_asked(done: object) -> None:
    class Waits(Call):
        def code(self) -> Any:
            pytest.fail("would wait for the end of the call")

    assert read_rpc(Waits(Code.UNAVAILABLE, done=done)) is None
    assert said(Waits(Code.UNAVAILABLE, done=done)) == ("permanent", None)


def test_only_grpcs_own_errors_are_asked() -> None:
    class Mine(Exception):
        def code(self) -> Any:
            pytest.fail("called")

    assert read_rpc(Mine()) is None
    assert said(Mine()) == ("permanent", None)


@pytest.mark.parametrize(
    ("details", "kind", "wait"),
    [
        ([delay(27)], "rate", 27.0),
        ([delay(3, 700_000_000)], "rate", 3.7),
        ([delay(0, 250_000_000)], "rate", 0.25),
        ([delay(0)], "rate", None),
        ([delay(-5)], "rate", None),
        ([quota("GenerateRequestsPerMinutePerProject"), delay(27)], "rate", 27.0),
        ([quota("GenerateRequestsPerDayPerProject"), delay(27)], "spent", None),
        ([quota("", metric="x/generate_requests_per_model_per_day")], "spent", None),
        ([quota("", description="Too many requests per day")], "spent", None),
        ([quota("PerMinute", "PerDay")], "spent", None),
        ([info("RATE_LIMIT_EXCEEDED", quota_limit="GenerateRequestsPerDayPerProject")], "spent", None),
        ([info("RATE_LIMIT_EXCEEDED", quota_limit="GenerateRequestsPerMinutePerProject")], "rate", None),
        ([info("BILLING_DISABLED", consumer="projects/1")], "spent", None),
        ([("google.rpc.Help", field(1, b"links")), delay(7)], "rate", 7.0),
        ([("", b""), delay(7)], "rate", 7.0),
        ([("google.rpc.RetryInfo", field(1, field(1, 7)))], "rate", 7.0),
        ([("google.rpc.RetryInfo", field(1, field(2, 250_000_000)))], "rate", 0.25),
        ([("google.rpc.RetryInfo", field(1, field(1, b"no number") + field(1, 7)))], "rate", 7.0),
        ([("google.rpc.QuotaFailure", field(1, field(5, b"\xffPerDay")))], "spent", None),
    ],
)  # fmt: skip
def test_details_are_unpacked(details: list[tuple[str, bytes]], kind: str, wait: float | None) -> None:
    assert said(refused(*details)) == (kind, wait)


@pytest.mark.parametrize(
    ("code", "text", "kind", "wait"),
    [
        (Code.RESOURCE_EXHAUSTED, "Your team has used all available credits", "spent", None),
        (Code.PERMISSION_DENIED, "Your team has used all available credits", "spent", None),
        (Code.FAILED_PRECONDITION, "Monthly spending limit reached", "spent", None),
        (Code.RESOURCE_EXHAUSTED, "Resource has been exhausted (e.g. check quota).", "rate", None),
        (Code.RESOURCE_EXHAUSTED, "Limit 10, Requested 11", "permanent", None),
        (Code.RESOURCE_EXHAUSTED, "Received message larger than max (5013781 vs. 4194304)", "permanent", None),
        (Code.RESOURCE_EXHAUSTED, "Please try again in 7s", "rate", 7.0),
        (Code.RESOURCE_EXHAUSTED, "Too many concurrent requests", "concurrency", None),
        (Code.UNAVAILABLE, "Exceeds maximum queue size", "overloaded", 0.0),
        (Code.INVALID_ARGUMENT, "Your team has used all available credits", "permanent", None),
    ],
)  # fmt: skip
def test_words_count_as_with_http(code: Code, text: str, kind: str, wait: float | None) -> None:
    assert said(AioRpcError(code, text)) == (kind, wait)


def test_an_unavailable_server_that_names_a_wait_refused_to_start() -> None:
    assert said(refused(delay(5), code=Code.UNAVAILABLE)) == ("overloaded", 5.0)
    assert read_error(refused(delay(5), code=Code.UNAVAILABLE), wall=0.0).refused_to_start
    assert said(AioRpcError(Code.UNAVAILABLE, "", (("grpc-retry-pushback-ms", "1500"),))) == ("overloaded", 1.5)
    assert said(AioRpcError(Code.UNAVAILABLE, "", (), (("Retry-After", "3"),))) == ("overloaded", 3.0)
    assert said(AioRpcError(Code.UNAVAILABLE, "", (("grpc-retry-pushback-ms", "-1"),))) == ("overloaded", None)


def test_255_more_pairs_of_metadata_are_looked_at() -> None:
    others = [("x", "y")] * 255
    assert said(AioRpcError(Code.UNAVAILABLE, "", [*others, ("retry-after", "3")])) == ("overloaded", 3.0)
    assert said(AioRpcError(Code.UNAVAILABLE, "", [*others, ("x", "y"), ("retry-after", "3")])) == ("overloaded", None)


def test_a_class_of_google_api_core_without_a_status_has_a_code() -> None:
    for code, kind in ((Code.UNKNOWN, "transient"), (Code.DATA_LOSS, "permanent"), (None, "permanent")):
        error = Exception()
        error.__dict__.update(code=None, grpc_status_code=code, message="None x")
        assert said(error) == (kind, None)


class Message:
    """As a protobuf message: of an unknown make, with its name and its bytes."""

    def __init__(self, kind: object, data: object) -> None:
        self.DESCRIPTOR = type("Descriptor", (), {"full_name": kind})()
        self._data = data

    def SerializeToString(self) -> object:  # noqa: N802
        if isinstance(self._data, Exception):
            raise self._data
        return self._data


def test_messages_in_the_details_of_google_api_core_are_unpacked() -> None:
    error = Exception()
    error.__dict__.update(code=429, details=[Message(*quota("PerMinute")), Message(*delay(27))], message="429 x")
    assert said(error) == ("rate", 27.0)
    error.__dict__.update(details=[Message(*delay(27)), Message(*quota("RequestsPerDay"))])
    assert said(error) == ("spent", None)
    error.__dict__.update(details=[Message("google.rpc.BadRequest", b"\xff"), Message(None, b""), Message(*delay(7))])
    assert said(error) == ("rate", 7.0)


@pytest.mark.parametrize(
    "message",
    [
        Message("google.rpc.Help", b""), Message("mine.RetryInfo", b""), Message(7, b""), None, object(), 7,
        Message("google.rpc.RetryInfo", ValueError()), Message("google.rpc.RetryInfo", "text"),
    ],
)  # fmt: skip
def test_what_is_none_of_these_messages_is_none(message: object) -> None:
    assert unpack(message) is None


@pytest.mark.parametrize(
    "packed",
    [
        b"", b"\xff" * 20, b"\x1a", b"\x1a\x7f", b"\x0a\xff\xff\xff\xff\x0f", b"\x1b", b"\x1c", b"\x09" + b"\0" * 7,
        b"\x0d" + b"\0" * 3, "text", None, 7, [b"\x1a"],
    ],
)  # fmt: skip
def test_details_that_are_cut_or_garbage_are_none(packed: object) -> None:
    error = AioRpcError(Code.RESOURCE_EXHAUSTED, "", [("grpc-status-details-bin", packed), ("retry-after", "3")])
    assert said(error) == ("rate", 3.0)


def test_other_fields_are_passed_over_up_to_where_it_is_cut() -> None:
    kind, data = delay(27)
    packed = field(1, 8) + b"\x21" + b"\0" * 8 + b"\x2d" + b"\0" * 4 + status((kind, data))
    for cut, wait in ((0, 27.0), (1, None), (5, None)):
        error = AioRpcError(Code.RESOURCE_EXHAUSTED, "", [("grpc-status-details-bin", packed[: len(packed) - cut])])
        assert said(error) == ("rate", wait)
    error = AioRpcError(Code.RESOURCE_EXHAUSTED, "", [("grpc-status-details-bin", status((kind, data)) + b"\x1a\x7f")])
    assert said(error) == ("rate", 27.0)


@pytest.mark.parametrize("metadata", [None, 7, [7], [(1, 2, 3)], [("a",)], "text", object(), {"a": 1}])
def test_metadata_that_is_none_is_none(metadata: object) -> None:
    assert said(AioRpcError(Code.RESOURCE_EXHAUSTED, metadata, metadata, metadata)) == ("rate", None)


def test_an_error_of_grpc_is_a_value() -> None:
    rpc = read_rpc(refused(delay(7), code=Code.INVALID_ARGUMENT, text="words"))
    assert rpc == Rpc(400, (("date", "today"),), ({"retryDelay": {"seconds": 7, "nanos": 0}}, "words"))
    assert not hasattr(rpc, "__dict__")
    with pytest.raises(FrozenInstanceError):
        rpc.status = 429  # type: ignore[misc, union-attr]


def test_of_other_bytes_in_the_metadata_nothing_is_unpacked() -> None:
    trailing = [("other-bin", b"\xff\xff"), ("grpc-status-details-bin", status(delay(7)))]
    assert said(AioRpcError(Code.RESOURCE_EXHAUSTED, "", trailing)) == ("rate", 7.0)


def test_metadata_without_an_end_is_read_to_its_256th_pair() -> None:
    assert said(AioRpcError(Code.UNAVAILABLE, "", itertools.repeat(("x", "y")))) == ("overloaded", None)


def test_65536_bytes_of_details_are_read() -> None:
    last = field(3, field(1, "type.googleapis.com/google.rpc.RetryInfo") + field(2, delay(7)[1]))
    filled = field(2, b"x" * (65_536 - len(last) - 4))
    assert len(filled + last) == 65_536
    for before, wait in ((b"", 7.0), (field(1, 8), None)):
        error = AioRpcError(Code.RESOURCE_EXHAUSTED, "", [("grpc-status-details-bin", before + filled + last)])
        assert said(error) == ("rate", wait)


def test_a_message_of_another_make_is_not_asked_for_its_bytes() -> None:
    class Other(Message):
        def SerializeToString(self) -> object:  # noqa: N802
            pytest.fail("asked")

    for kind in ("mine.RetryInfo", "google.protobuf.Duration", None):
        assert unpack(Other(kind, b"")) is None


@pytest.mark.parametrize("code", [None, 7, "RESOURCE_EXHAUSTED", object()])
def test_a_code_that_is_none_says_nothing(code: object) -> None:
    assert read_rpc(AioRpcError(code)) is None
    assert said(AioRpcError(code)) == ("permanent", None)


def test_methods_that_raise_are_as_if_absent() -> None:
    class Failing(AioRpcError):
        def details(self) -> Any:
            raise RuntimeError("not now")

        trailing_metadata = initial_metadata = details

    assert said(Failing(Code.UNAVAILABLE)) == ("overloaded", None)

    class Speechless(AioRpcError):
        def code(self) -> Any:
            raise RuntimeError("not now")

    assert said(Speechless(Code.UNAVAILABLE)) == ("permanent", None)
