"""What a gRPC error carries: its code as an HTTP status, its metadata, and the details packed in it.

Pure, and neither grpc nor protobuf is imported: an error is known by its class, and of protobuf's wire format only
the messages are read that say something about a refusal (google/rpc/error_details.proto). A client's methods are
called only where the call is over, as they wait for its end otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import cast

from fanmap._policy.foreign import class_names, safe_getattr

_STATUS = {
    "RESOURCE_EXHAUSTED": 429, "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504, "ABORTED": 409, "INTERNAL": 500,
    "UNKNOWN": 500, "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "FAILED_PRECONDITION": 412,
}  # fmt: skip
"""HTTP's status for the same thing, as google/rpc/code.proto has it, but for FAILED_PRECONDITION, for which HTTP has
one of its own. Any other code is the call's own fault."""
_ITS_OWN_FAULT = 400

_DETAILS = "grpc-status-details-bin"
_MOST_PAIRS = 256
_LONGEST_MESSAGE = 65_536  # bytes


@dataclass(frozen=True, slots=True)
class Rpc:
    """A gRPC error.

    Attributes:
        status: HTTP's status of the same meaning.
        metadata: initial and trailing, as pairs.
        documents: the details as JSON would have them, and the server's message.
    """

    status: int
    metadata: tuple[tuple[object, object], ...]
    documents: tuple[object, ...]


def read_rpc(error: BaseException) -> Rpc | None:
    """Read an error of grpc or grpc.aio; None: it is none, or its call is not over."""
    if ("grpc", "RpcError") not in class_names(error):
        return None
    if safe_getattr(error, "done") is not None and _called(error, "done") is not True:
        return None
    name = safe_getattr(_called(error, "code"), "name")
    if not isinstance(name, str):
        return None
    pairs = [*_pairs(_called(error, "initial_metadata")), *_pairs(_called(error, "trailing_metadata"))]
    packed = next((value for key, value in pairs if key == _DETAILS and isinstance(value, bytes)), b"")
    return Rpc(
        status=status_of(name),
        metadata=tuple(pair for pair in pairs if pair[0] != _DETAILS),
        documents=(*_details(packed), _called(error, "details")),
    )


def status_of(code: str) -> int:
    """HTTP's status of the same meaning as the code of this name."""
    return _STATUS.get(code, _ITS_OWN_FAULT)


def unpack(message: object) -> dict[object, object] | None:
    """A protobuf message of google.rpc as JSON would have it; None: it is none, or says nothing of refusals."""
    kind = safe_getattr(safe_getattr(message, "DESCRIPTOR"), "full_name")
    if not isinstance(kind, str) or not kind.startswith("google.rpc."):
        return None
    data = _called(message, "SerializeToString")
    return _record(kind, data) if isinstance(data, bytes) else None


def _called(source: object, name: str) -> object:
    try:
        return cast("Callable[[], object]", getattr(source, name))()
    except Exception:
        return None


def _pairs(metadata: object) -> Iterator[tuple[object, object]]:
    try:
        for count, pair in enumerate(cast("Iterable[tuple[object, object]]", metadata)):
            if count == _MOST_PAIRS:
                return
            key, value = pair
            yield key, value
    except Exception:
        return


def _details(status: bytes) -> Iterator[dict[object, object]]:
    """Of a google.rpc.Status (field 3): each an Any, with the address of a type (1) and a value (2)."""
    for one in _all(status, 3):
        for value in _all(one, 2):
            record = _record(_text(one, 1).rpartition("/")[2], value)
            if record is not None:
                yield record


def _record(kind: str, data: bytes) -> dict[object, object] | None:
    if kind == "google.rpc.RetryInfo":
        delay = b"".join(_all(data, 1))
        return {"retryDelay": {"seconds": _int(delay, 1), "nanos": _int(delay, 2)}}
    if kind == "google.rpc.QuotaFailure":
        violations = [
            {"description": _text(one, 2), "quotaMetric": _text(one, 4), "quotaId": _text(one, 5)}
            for one in _all(data, 1)
        ]
        return {"violations": violations}
    if kind == "google.rpc.ErrorInfo":
        return {"reason": _text(data, 1), "metadata": {_text(pair, 1): _text(pair, 2) for pair in _all(data, 3)}}
    return None


def _text(message: bytes, number: int) -> str:
    return b"".join(_all(message, number)[:1]).decode("utf-8", "replace")


def _int(message: bytes, number: int) -> int:
    found = next((value for at, value in _fields(message) if at == number and isinstance(value, int)), 0)
    return found - (1 << 64) if found >= 1 << 63 else found  # a negative int64


def _all(message: bytes, number: int) -> list[bytes]:
    return [value for at, value in _fields(message) if at == number and isinstance(value, bytes)]


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field in protobuf's wire format, as far as it is sound."""
    data, at = message[:_LONGEST_MESSAGE], 0
    try:
        while at < len(data):
            key, at = _varint(data, at)
            number, wire = key >> 3, key & 7
            if wire == 0:
                value, at = _varint(data, at)
                yield number, value
                continue
            length = {1: 8, 5: 4}.get(wire)
            if length is None:
                if wire != 2:
                    return
                length, at = _varint(data, at)
            if at + length > len(data):
                return
            if wire == 2:
                yield number, data[at : at + length]
            at += length
    except IndexError:  # cut short
        return


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise IndexError
