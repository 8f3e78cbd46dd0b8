"""A document in a file, kept twice: whoever is killed in the middle of writing one copy leaves the other."""

from __future__ import annotations

import errno
import struct
from array import array
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from fanmap._drive.shared import kernel
from fanmap._policy.shared.document import Document
from fanmap._policy.shared.packing import pack, unpack

_HEAD: Final = struct.Struct("<QII")  # how often the document was written, bytes, checksum
_ROOM: Final = 256 * 1024 - _HEAD.size  # for each copy
START: Final = 64  # bytes of the file before the copies
SIZE: Final = START + 2 * 256 * 1024
_PLACES: Final = (START, START + 256 * 1024)


@dataclass(frozen=True, slots=True)
class Written:
    """What this process wrote last: if nobody has written since, it need not be read."""

    count: int = 0
    checksum: int = 0
    document: Document | None = None


def newest(file: int, last: Written) -> tuple[Document | None, int]:
    """The newer copy that is whole, and how often the document was written."""
    heads = [(*_HEAD.unpack(kernel.read(file, _HEAD.size, place).ljust(_HEAD.size, b"\0")), place) for place in _PLACES]
    heads.sort(reverse=True)
    for count, length, checksum, place in heads:
        if count and (count, checksum) == (last.count, last.checksum):
            return last.document, count
        if count and length <= _ROOM:
            data = kernel.read(file, length, place + _HEAD.size)
            if len(data) == length and crc32(data, count & 0xFFFFFFFF) == checksum:
                numbers = array("d")
                numbers.frombytes(data)
                return _unpacked(numbers), count
    return None, heads[0][0]


def _unpacked(numbers: array[float]) -> Document:
    try:
        return unpack(numbers)
    except ValueError:
        raise ValueError("the file was written by another version of fanmap: use another name") from None


def write(file: int, count: int, document: Document) -> Written:
    """Write the document in the place of the older copy; it is the `count`th time."""
    data = array("d", pack(document)).tobytes()
    if len(data) > _ROOM:
        raise OSError(errno.ENOSPC, "too many processes use this name: write shared='redis://HOST:6379/0#NAME' instead")
    checksum = crc32(data, count & 0xFFFFFFFF)
    kernel.write(file, _HEAD.pack(count, len(data), checksum) + data, _PLACES[count % 2])
    return Written(count, checksum, document)


def erase(file: int) -> None:
    """Neither copy counts any more."""
    for place in _PLACES:
        kernel.write(file, bytes(_HEAD.size), place)
