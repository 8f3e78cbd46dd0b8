"""The endpoint that the user names: address, model and key, checked before anything is sent."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from fanmap._failure import CommandError


@dataclass(frozen=True, slots=True)
class Address:
    """A checked address; `shown` is the URL without user, password and query, which may be secret."""

    url: str = field(repr=False)
    shown: str
    model: str
    key: str = field(repr=False)


def read_address(base_url: str | None, model: str | None, key_variable: str | None) -> Address | None:
    """The user's endpoint; None: none was named.

    A key is sent only where its variable was named: an address typed wrong gets no key from the environment.

    Raises:
        CommandError: something is missing or cannot be right.
    """
    if base_url is None:
        for option, given in (("--model", model), ("--api-key-env", key_variable)):
            if given is not None:
                raise CommandError(
                    f"{option} needs --base-url: the simulated server has one model and no keys", status=2
                )
        return None
    shown = _shown(base_url)
    if not model:
        raise CommandError("--base-url needs --model: the name of the model to ask", status=2)
    return Address(base_url, shown, model, "none" if key_variable is None else _key(key_variable))


def _shown(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable() or " " in url:
        raise CommandError("--base-url must be a URL such as http://localhost:11434/v1", status=2)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{parts.path}"


def _key(variable: str) -> str:
    key = os.environ.get(variable)
    if key is None:
        raise CommandError(f"the environment variable {variable} is not set", status=2)
    key = key.strip()
    if not key:
        raise CommandError(f"the environment variable {variable} is empty", status=2)
    if not (key.isascii() and key.isprintable()):  # no HTTP header takes it, and the error would quote it
        raise CommandError(f"the environment variable {variable} contains characters that no key has", status=2)
    return key
