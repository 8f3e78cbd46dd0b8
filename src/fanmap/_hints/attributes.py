"""Attributes and names of the module that do not exist: what they are called here."""

from __future__ import annotations

from fanmap._hints.words import ATTRIBUTES, NOTHING_TO_CLOSE, OF_MODULE, OF_OBJECTS


def attribute(name: str, function: str, *, is_async: bool) -> str | None:
    """What to write instead of this attribute of a decorated function; None: nobody knows."""
    if name in NOTHING_TO_CLOSE:
        return "there is nothing to close: threads and loops need no shutdown"
    for line, words in ATTRIBUTES.items():
        if name in words.split():
            call = (
                f"`await {function}(...)`, or asyncio.create_task({function}(...))" if is_async else f"{function}(...)"
            )
            return f"write {line.format(f=function, call=call)}"
    return None


def of_module(name: str) -> str | None:
    """What to write instead of this name of the module's; None: nobody knows."""
    for line, words in OF_MODULE.items():
        if name in words.split():
            return f"write {line.format(name=name)}"
    return None


def missing(obj: object, kind: str, name: str) -> AttributeError:
    """The error for an attribute that this object of ours does not have, with what to write where somebody knows."""
    text = f"{kind!r} object has no attribute {name!r}"
    for line, words in OF_OBJECTS[kind].items():
        if name in words.split():
            text += f": {line}"
    return AttributeError(text, name=name, obj=obj)
