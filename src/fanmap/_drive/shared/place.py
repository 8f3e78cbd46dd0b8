"""What `shared=` means: a name, a file, or a server, and what FANMAP_SHARED and FANMAP_LEASE say of it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from fanmap._drive.shared.folder import default_folder

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SCHEMES: Final = ("redis", "rediss", "unix", "valkey", "valkeys")
_FILE_LEASE: Final = 30.0  # long, as the death of a process is seen at once: for debuggers and a suspended machine
_SERVER_LEASE: Final = 10.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a shared name is kept.

    Attributes:
        given: as the user wrote it, without a password.
        name: of the budget. path: of its file, if that was given. url: of the server, if one was given.
    """

    given: str
    name: str
    path: str | None = None
    url: str | None = None

    def file(self) -> Path:
        """The file, where there is no server.

        Raises:
            ValueError: FANMAP_SHARED is neither a folder nor a server. OSError: see `folder`.
        """
        if self.path is not None:
            return Path(self.path)
        return _folder() / f"{self.name}.fanmap"

    def server(self) -> str | None:
        """The server's URL; None: a file.

        Raises:
            ValueError: FANMAP_SHARED is neither a folder nor a server.
        """
        place = os.environ.get("FANMAP_SHARED")
        if self.url is not None or self.path is not None or not place:
            return self.url
        if "://" in place:
            parts = _parts(place)
            if parts is None or parts.scheme not in _SCHEMES or parts.fragment:
                raise ValueError(
                    "FANMAP_SHARED must be a folder or a URL like redis://HOST:6379/0, without a name, "
                    f"got {without_password(place)!r}"
                )
            _check_server("FANMAP_SHARED", place, parts)
            return place
        if not Path(place).is_dir():
            raise ValueError(
                f"FANMAP_SHARED must be an existing folder or a URL like redis://HOST:6379/0, got {place!r}"
            )
        return None


def folder_of_names() -> Path | None:
    """Where bare names are kept on this machine; None: on a server.

    Raises:
        ValueError: FANMAP_SHARED is neither a folder nor a server. OSError: see `folder`.
    """
    return None if Place("", "").server() is not None else _folder()


def _folder() -> Path:
    folder = os.environ.get("FANMAP_SHARED")
    return Path(folder) if folder else default_folder()


def read_place(given: object) -> Place:
    """What was given as `shared=`.

    Raises:
        TypeError: no str. ValueError: no name, path or URL; nothing is opened yet.
    """
    if not isinstance(given, str):
        raise TypeError(f"shared must be a str or None, got {given!r}")
    if "://" in given:
        parts = _parts(given)
        shown = without_password(given)
        if parts is None:
            raise _no_server("shared", given)
        if parts.scheme not in _SCHEMES:
            known = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
            raise ValueError(f"shared must be a name, a path or a URL of {known}; got {shown!r}")
        if not _NAME.fullmatch(parts.fragment):
            raise ValueError(
                "shared must end in #NAME, 1 to 64 of A-Z a-z 0-9 . _ -, as in redis://HOST:6379/0#openai; "
                f"got {shown!r}"
            )
        _check_server("shared", given, parts)
        return Place(shown, parts.fragment, url=given.partition("#")[0])
    if "/" in given:
        if given.endswith("/") or "\0" in given:
            raise ValueError(f"shared must be the path of a file, got {given!r}")
        return Place(given, Path(given).name, path=os.path.abspath(given))
    if not _NAME.fullmatch(given):
        raise ValueError(f"shared must be a name of 1 to 64 of A-Z a-z 0-9 . _ -, a path or a URL, got {given!r}")
    return Place(given, given)


def without_password(url: str) -> str:
    """The URL as it may be shown; also one that a / or a # in its password cuts to pieces."""
    url = re.sub(r"(?<=[?&]password=)[^&]*?(?=&|#[^#]*$|$)", "***", url)
    scheme, separator, rest = url.partition("://")
    if scheme == "unix":  # in front of its path, which may have an @ in it
        login, slash, path = rest.partition("/")
    else:
        login, slash, path = rest, "", ""
    user, at, host = login.rpartition("@")
    return f"{scheme}{separator}{user.partition(':')[0]}:***@{host}{slash}{path}" if at else url


def _parts(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:  # half an IPv6 address
        return None


def _check_server(what: str, given: str, parts: SplitResult) -> None:
    """Is there a host, a port and a number of a database? redis-py takes 0 where it is none."""
    try:
        fits = parts.scheme == "unix" or (parts.port is None or parts.port > 0)
    except ValueError:
        fits = False
    if not fits or (parts.scheme != "unix" and not re.fullmatch(r"/?\d*/?", parts.path, re.ASCII)):
        raise _no_server(what, given)


def _no_server(what: str, given: str) -> ValueError:
    return ValueError(
        f"{what} must be a URL like redis://USER:PASSWORD@HOST:6379/0, where a / ? # or @ in the password is written "
        f"%2F %3F %23 or %40; got {without_password(given)!r}"
    )


def lease(server: bool) -> float:
    """Seconds after which a process that was not heard of counts as gone.

    Raises:
        ValueError: FANMAP_LEASE is no number of seconds >= 1.
    """
    said = os.environ.get("FANMAP_LEASE")
    if not said:
        return _SERVER_LEASE if server else _FILE_LEASE
    try:
        seconds = float(said)
    except ValueError:
        seconds = 0.0
    if not 1.0 <= seconds < 86_400.0:
        raise ValueError(f"FANMAP_LEASE must be seconds, 1 to a day, got {said!r}")
    return seconds
