"""`fanmap shared`: how things are under a shared name, or which names there are."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from fanmap._drive.shared.folder import default_folder
from fanmap._drive.shared.place import folder_of_names, read_place, without_password
from fanmap._drive.shared.registry import open_store
from fanmap._drive.shared.store import Store, StoreAway
from fanmap._failure import CommandError
from fanmap._shared.table import table
from fanmap._stderr import say

_EACH = 1.0  # seconds between two looks


def shared(name: str | None, *, watch: bool, reset: bool) -> int:
    """Run the command.

    Returns:
        0; 1 where no process uses the name.

    Raises:
        CommandError: it is no name, or its store cannot be read.
    """
    try:
        if name is None:
            return _names()
        place = read_place(name)
        store = open_store(place)
        try:
            return _one(place.name, store, watch=watch, reset=reset)
        finally:
            store.close()
    except StoreAway as error:
        raise CommandError(f"{without_password(name or '')} could not be reached: {error}", status=1) from error
    except (ValueError, OSError, ImportError) as error:
        raise CommandError(str(error), status=2) from error


def _one(name: str, store: Store, *, watch: bool, reset: bool) -> int:
    if reset:
        store.reset()
        say(f"fanmap: the state in {store.where} was cleared\n")
        return 0
    view = store.look()
    if view is None:
        say(f"fanmap: no process uses {name!r} ({store.where})\n")
        return 1
    try:
        while True:
            text = f"no process uses {name!r} ({store.where})\n" if view is None else table(name, store.where, view)
            if not watch:
                sys.stdout.write(text)
                return 0
            home = "\033[H\033[J" if sys.stdout.isatty() else ""
            sys.stdout.write(f"{home}{text}\n")
            sys.stdout.flush()
            time.sleep(_EACH)
            view = store.look()
    except KeyboardInterrupt:  # how one stops to watch
        return 0


def _names() -> int:
    folder = folder_of_names()
    if folder is None:
        raise CommandError("FANMAP_SHARED names a server: give a NAME", status=2)
    names = sorted(path.stem for path in Path(folder).glob("*.fanmap"))
    used = [name for name in names if _is_used(name)]
    own = "" if folder != default_folder() else " (FANMAP_SHARED is not set)"
    sys.stdout.write(f"names are kept in {folder}{own}; in use: {', '.join(used) or 'none'}\n")
    return 0


def _is_used(name: str) -> bool:
    store = open_store(read_place(name))
    try:
        return store.look() is not None
    except StoreAway:
        return False
    finally:
        store.close()
