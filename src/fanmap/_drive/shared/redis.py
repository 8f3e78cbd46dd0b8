"""Shared limits in Redis or Valkey: one key, and one script that runs the ledger there.

The script is `ledger.lua`, the same as `_policy.shared.ledger`. A client that reads, decides and writes by itself was
measured: 32 busy processes used 0.74 of the slots and made 1,110 conflicts in 300 exchanges. No command is ever sent
twice unseen: what a request reports would count twice. Wakes are published by the script.
"""

from __future__ import annotations

import importlib.resources
import re
import threading
from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from typing import Any, Final

from fanmap._drive import clock
from fanmap._drive.shared.chance import chance
from fanmap._drive.shared.place import without_password
from fanmap._drive.shared.store import StoreAway
from fanmap._policy.shared.document import Document, MemberState, RateSetting, RateState, Settings
from fanmap._policy.shared.messages import Reply, Request
from fanmap._policy.shared.overview import Overview, overview
from fanmap._policy.shared.packing import VERSION

try:
    msgpack: Any = import_module("msgpack")
    redis: Any = import_module("redis")
    _NO_REPEATS: Any = import_module("redis.retry").Retry(import_module("redis.backoff").NoBackoff(), 0)
except ImportError:
    raise ImportError('shared="redis://..." needs redis and msgpack: pip install "fanmap[redis]"') from None

_ERRORS: Final[tuple[type[Exception], ...]] = (redis.RedisError, OSError, ValueError)
_TIMEOUT: Final = 1.0  # seconds for one exchange, and for a connection
_AGAIN: Final = 1.0  # seconds until the line on which wakes come is made anew


class RedisStore:
    """One process's way to the key of a name.

    Args:
        url: of the server, as redis-py has it; valkey:// and valkeys:// too.
        name: of the budget.
        number: of this process, random.

    Raises:
        ValueError: an option in the URL that redis-py does not know.
    """

    def __init__(self, url: str, name: str, number: int) -> None:
        client = self._redis = _client(url)
        self._key = f"fanmap:{{{name}}}"  # a hash tag: all that is one budget's is on one node of a cluster
        self.where = f"{without_password(url)}#{name}"
        self.wake = number
        self._script = client.register_script(_ledger())
        self._poked = threading.Event()
        self._woken = self._closed = False
        self._listener: threading.Thread | None = None

    def exchange(self, request: Request) -> Reply:
        """Exchange a request for a reply; see `Store`."""
        if self._listener is None:
            self._listener = clock.world.start_thread(self._listen, "fanmap-shared-wakes")
        try:
            answer = self._script(keys=[self._key], args=[msgpack.packb(request, default=as_map)])
        except _ERRORS as error:
            raise StoreAway(f"{type(error).__name__}: {error}") from error
        if answer is None:
            raise self._not_ours()
        return Reply(**msgpack.unpackb(answer))

    def look(self) -> Overview | None:
        """How things are; see `Store`."""
        try:
            packed = self._redis.get(self._key)
            seconds, micros = self._redis.time()
        except _ERRORS as error:
            if str(error).startswith("WRONGTYPE"):  # a list, a hash
                raise self._not_ours() from error
            raise StoreAway(f"{type(error).__name__}: {error}") from error
        if packed is None:
            return None
        try:
            kept: dict[str, Any] = msgpack.unpackb(packed)
            base: float = kept["base"]
            document = document_of(kept)
        except Exception as error:  # whatever MessagePack and a document make of what is none
            raise self._not_ours() from error
        return overview(document, seconds - base + micros / 1e6)

    def wait(self, seconds: float) -> bool:
        """See `Store`."""
        if seconds > 0:
            self._poked.wait(seconds)
        self._poked.clear()
        woken, self._woken = self._woken, False
        return woken

    def poke(self) -> None:
        """See `Store`."""
        self._poked.set()

    def reset(self) -> None:
        """See `Store`."""
        try:
            self._script(keys=[self._key], args=["", chance.getrandbits(48)])
        except _ERRORS as error:
            raise StoreAway(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """See `Store`. The thread that listens has a connection of its own, and closes all of them."""
        self._closed = True
        if self._listener is None:
            self._redis.connection_pool.disconnect()  # `close` leaves that to the collector, before redis-py 5.0.1

    def _not_ours(self) -> StoreAway:
        said = f"what is kept under {self._key} was written by something else, or by another version of fanmap"
        return StoreAway(f"{said}: use another name, or clear it: fanmap shared '{self.where}' --reset")

    def _listen(self) -> None:
        """The thread on which wakes come."""
        while not self._closed:
            try:
                with self._redis.pubsub(ignore_subscribe_messages=True) as line:
                    line.subscribe(f"{self._key}:{self.wake}")
                    while not self._closed:
                        if line.get_message(timeout=_TIMEOUT / 2) is not None:
                            self._woken = True
                            self._poked.set()
            except _ERRORS:
                if not self._closed:
                    clock.pause(_AGAIN)  # until then, whoever waits looks by itself
        self._redis.connection_pool.disconnect()


def _client(url: str) -> Any:
    try:
        client = redis.Redis.from_url(
            re.sub(r"^valkey(s?)://", r"redis\1://", url),
            socket_timeout=_TIMEOUT,
            socket_connect_timeout=_TIMEOUT,
            retry=_NO_REPEATS,
        )
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)  # connects nothing, and takes no option that there is not
    except (TypeError, ValueError) as error:
        raise ValueError(f"redis-py cannot use {without_password(url)}: {error}") from error
    return client


def _ledger() -> str:
    return importlib.resources.files("fanmap._drive.shared").joinpath("ledger.lua").read_text()


def as_map(one: Any) -> dict[str, Any]:
    """A dataclass as a map of its fields; MessagePack asks again for each dataclass among them."""
    kind: Any = one.__class__
    names = _names.get(kind)
    if names is None:
        names = _names[kind] = [field.name for field in fields(kind)]
    return {name: getattr(one, name) for name in names}


_names: dict[Any, list[str]] = {}  # of fields


def document_of(kept: Mapping[str, Any]) -> Document:
    """A document as the script keeps it, with a version and the moment that its seconds count from.

    Raises:
        ValueError: it is of another version.
    """
    parts: dict[str, Any] = dict(kept)
    del parts["base"]
    if parts.pop("version") != VERSION:
        raise ValueError("another version")
    parts["members"] = [_member(member) for member in kept["members"]]
    parts["rates"] = [RateState(**rate) for rate in kept["rates"]]
    return Document(**parts)


def _member(kept: Mapping[str, Any]) -> MemberState:
    parts, wants = dict(kept), dict(kept["settings"])
    wants["rates"] = tuple(RateSetting(**rate) for rate in wants["rates"])
    parts["settings"] = Settings(**wants)
    return MemberState(**parts)
