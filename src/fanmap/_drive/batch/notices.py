"""What is said of batches, by way of `_drive.notices`: that something costs more than it need.

Those that have a class of their own are said by the command in its own words.
"""

from __future__ import annotations

from fanmap._drive.notices import advise


class PaidAgain(RuntimeWarning):
    """What `warn_of_paid_again` says.

    Attributes:
        batches: of the file that are under way.
        path: of the file.
    """

    def __init__(self, text: str, batches: int, path: str) -> None:
        super().__init__(text)
        self.batches = batches
        self.path = path


class UnknownServer(RuntimeWarning):
    """What `warn_of_unknown_server` says.

    Attributes:
        base: of the server's URLs, as `endpoints=` takes it.
    """

    def __init__(self, text: str, base: str) -> None:
        super().__init__(text)
        self.base = base


def warn_of_paid_again(path: str, name: str, batches: int) -> None:
    """A run calls for items whose answers are on their way in a batch."""
    which, them = ("1 batch", "it") if batches == 1 else (f"{batches} batches", "them")
    text = (
        f"resume={path!r}: {which} of this file may still be under way, and answers are being paid for again: this "
        f"run calls for items that were submitted there. To wait for {them} instead, write {name}.batch(...); to end "
        f"{them}, `fanmap batch cancel {path}`"
    )
    advise(PaidAgain(text, batches, path))


def warn_of_unknown_server(name: str, base: str) -> None:
    """A request that would travel in a batch, were its server known, is about to be sent at once."""
    text = (
        f"requests of {name} to {base} are sent at once, at full price: this server is not known to accept batches. If "
        f"it does, add endpoints=[{base!r}]. With only=True, such a request is an error and is not sent"
    )
    advise(UnknownServer(text, base))


def warn_of_stray_request(name: str, place: str) -> None:
    """A request that a batch could have taken has come by, and is of no item."""
    advise(
        f"a request to {place} was sent at once, at full price, while {name}.batch was collecting requests, because "
        f"none of its items sent it. If a thread of your own sends what {name} asks for, start that thread inside the "
        "function, or run its work in the context of the item: contextvars.copy_context().run(...)"
    )
