"""A journal: opened by one run at a time, read once, then only appended to.

What a line says and which line counts is `_policy.journals.journal`'s; the system's part is `journal_file`'s. Every
result is in the file, in one `write`, before anybody sees it: a process that is killed loses none of them. With
`durable` it is on the disk.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Any, Final

from fanmap._drive import clock
from fanmap._drive.journals import journal_file
from fanmap._errors import JournalError
from fanmap._policy.journals.journal import Reading, TooDeep, read_line

_logger = logging.getLogger("fanmap")
_LOOK: Final = 1.0  # seconds between looks whether the file is still where it was


class Journal:
    """One open journal.

    Args:
        path: of the file; it is made where there is none, readable by its owner only.
        durable: wait for the disk with every line.
        others: told of each line with a `"kind"`, as the file is read, and where it begins.

    Attributes:
        path: of the file.
        absolute: the same from everywhere.
        durable: as above.
        skipped: lines that could not be believed.
        spent: what its lines say was spent, when it was opened.
        usual: dollars that an item took, on average; None: no line says.
        reserved: dollars that batches under way may cost, when it was opened, by the key of their lines.
        under_way: the questions of batches that were under way, when it was opened, by the same key.
        broken: it failed, and nothing more is written.
        failure: how, until it is closed.

    Raises:
        JournalError: it cannot be opened, is in use, or is not a journal's.

    Threads: every method may be called from any. Worker threads wait for each other's writes, with no slot in hand; the
    workers of an event loop write from its one thread, so that no loop ever waits for a lock. `close` waits for nobody:
    a finalizer may call it while its thread, or another one, is writing, and the file is given back when the last one
    has done with it. In a forked child everything is nothing.
    """

    def __init__(
        self, path: str, *, durable: bool, others: Callable[[dict[str, Any], int], None] | None = None
    ) -> None:
        self.path = path
        self._others = others
        self.durable = durable
        self._lock = threading.Lock()
        self._disk = threading.Lock()
        self.broken = False
        self.failure: JournalError | None = None
        self._synced = 0
        self._disk_error: JournalError | None = None  # until somebody has been told
        self._end = 0  # where the next line goes
        self._file: journal_file.OpenFile | None = None
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        try:
            self.absolute = os.path.abspath(self.path)  # the working directory may change
            self._file = journal_file.open_file(self.path)
            fd = self._file.fd
            journal_file.check_file(fd)
            journal_file.lock(fd)
            reading = self._read(fd)
        except JournalError:
            raise
        except OSError as error:
            raise self._error(_why(error, self.path), error) from error
        except ValueError as error:  # a NUL, or half of a surrogate pair
            raise self._error("is not a valid path on this system") from error
        if reading.foreign:
            raise self._error("is not a fanmap journal: give resume= a path of its own")
        self._places, self.skipped, self._end = reading.places, reading.skipped, reading.end
        self.spent, self.usual, self.reserved = reading.spent, reading.usual, reading.reserved
        self.under_way = reading.under_way
        try:
            if journal_file.cut(fd, reading.end):
                _logger.info("%s: the last record is incomplete; its item runs again", self.path)
            if reading.finish:
                self._write(reading.finish)
            if self.durable:
                journal_file.to_disk(fd)
                journal_file.directory_to_disk(self.path)
        except OSError as error:
            raise self._error(f"cannot be written: {error.strerror}", error) from error
        self._next_look = clock.now() + _LOOK

    def _read(self, fd: int) -> Reading:
        reading = Reading(self._others)
        try:
            with journal_file.reader(fd) as lines:
                for line in lines:
                    reading.add(line)
        except TooDeep:
            raise self._error(f"has a record on line {reading.lines} that is nested too deeply to read") from None
        return reading

    def __len__(self) -> int:
        """Results in the file."""
        return len(self._places)

    def find(self, key: str) -> dict[str, Any] | None:
        """What the file says of an item's result, with its `value`; None where it holds none.

        Raises:
            JournalError: it is nested too deeply to be read from here.
        """
        place = self._places.get(key)
        return None if place is None else self.read(key, place)

    def read(self, key: str, place: int) -> dict[str, Any] | None:
        """What the line of this key says that begins there; None where it cannot be read any more.

        Raises:
            JournalError: it is nested too deeply to be read from here.
        """
        file = self._file
        try:
            if file is None or file.fd < 0:
                return None
            said = read_line(journal_file.read_line_at(file.fd, place))
        except TooDeep:
            raise self._error("has a result that is nested too deeply to read") from None
        finally:
            del file
        return said if said is not None and said["key"] == key else None

    def append(self, line: bytes) -> int:
        """Write one record, all of it or none.

        Returns:
            How far the disk must have come until this record is safe, for `synced` and `wait_for_disk`.

        Raises:
            JournalError: it could not be written, or would be written to a file that nobody finds any more. Said
                once; from now on nothing is written.
        """
        if not self.usable:
            return 0
        with self._lock:
            if self.broken:
                return 0
            if clock.now() >= self._next_look:
                self._look()
            try:
                self._write(line)
            except OSError as error:
                raise self._error(f"cannot be written: {error.strerror}", error) from error
            return self._end

    def wait_for_disk(self, end: int) -> None:
        """Block until the disk has everything up to there.

        Raises:
            JournalError: it failed. Said once; from now on nothing is written.
        """
        with self._disk:
            if self.broken or self._synced >= end:  # another thread's sync took this line along
                return
            upto, file = self._end, self._file
            if file is None or file.fd < 0:
                return
            try:
                journal_file.to_disk(file.fd)
            except OSError as error:
                # After a sync that failed nobody knows what is on the disk: a second one may succeed and lie.
                self.broken = True
                raise self._error(f"cannot be flushed to disk: {error.strerror}", error) from error
            finally:
                del file
            self._synced = upto

    def sync(self) -> None:
        """The same for everything written so far; `synced` tells how it went."""
        try:
            self.wait_for_disk(self._end)
        except JournalError as error:
            self._disk_error = error

    def synced(self, end: int) -> bool:
        """Has the disk everything up to there, as far as it ever will? Does not wait.

        Raises:
            JournalError: it failed. Said once.
        """
        error, self._disk_error = self._disk_error, None
        try:
            if error is not None:
                raise error
        finally:
            del error
        return self._synced >= end or self.broken or not self.usable

    def check(self) -> None:
        """Look once more whether the file is where it was: for the end of a run.

        Raises:
            JournalError: it is not. Said once; from now on nothing is written.
        """
        if self.usable:
            with self._lock:
                if not self.broken:
                    self._look()

    def close(self) -> None:
        """Give the file back, and look a last time whether it is where it was; idempotent."""
        file, self._file = self._file, None
        self.failure = None  # its traceback leads here
        if file is None:
            return
        if file.fd >= 0 and not self.broken and journal_file.missing(file.fd, self.absolute, self._end) is not None:
            self.broken = True
        file.to_close = True

    @property
    def usable(self) -> bool:
        """Is it open? Not once the run is over (a call that was left behind has ended), nor in a forked child."""
        file = self._file
        return file is not None and file.fd >= 0

    # Inside

    def _write(self, line: bytes) -> None:
        file = self._file
        if file is None:
            return
        try:
            journal_file.append(file.fd, line)
        except BaseException:  # Ctrl-C too
            self.broken = True
            raise
        finally:
            del file  # or the exception's traceback would keep it open
        self._end += len(line)

    def _look(self) -> None:
        file = self._file
        if file is None:
            return
        why = journal_file.missing(file.fd, self.absolute, self._end)
        del file
        self._next_look = clock.now() + _LOOK
        if why is not None:
            self.broken = True
            raise self._error(f"{why} during a run")

    def _error(self, why: str, cause: OSError | None = None) -> JournalError:
        text = f"resume={self.path!r} {why}"
        error = JournalError(text) if cause is None or cause.errno is None else JournalError(cause.errno, text)
        self.failure = error
        return error


def _why(error: OSError, path: str) -> str:
    if error.filename is None and error.strerror:  # our own words
        return error.strerror
    if isinstance(error, FileNotFoundError):
        from fanmap._hints import values  # only where something is wrong

        return f"cannot be opened: its folder does not exist{values.home(path)}"
    return f"cannot be opened: {error.strerror or type(error).__name__}"
