"""Files without a name, for what would be too much to hold. A disk that has no room for one is no failure of a network:
who waited for it to mend would wait for nothing."""

from __future__ import annotations

from contextlib import suppress
from tempfile import TemporaryFile
from typing import IO, cast

from fanmap._errors import BatchError


def spool() -> IO[bytes]:
    """An empty one, to be closed with `drop`, or by somebody who has read it.

    Raises:
        BatchError: there is no place for it.
    """
    try:
        return cast("IO[bytes]", TemporaryFile())
    except OSError as error:
        raise _no_room(error) from error


def put(file: IO[bytes], data: bytes) -> None:
    """Write this at its end.

    Raises:
        BatchError: there is no room for it.
    """
    try:
        file.write(data)
        file.flush()
    except OSError as error:
        raise _no_room(error) from error


def drop(file: IO[bytes]) -> None:
    """Close one, whatever it could not write."""
    with suppress(OSError):
        file.close()


def _no_room(error: OSError) -> BatchError:
    return BatchError(
        f"a temporary file cannot be written: {error}. Make room, or name another folder in TMPDIR, and call again to "
        "resume"
    )
