"""How a result becomes JSON and comes back as it was.

What would come back as something else is an error when it is to be written, and never a wrong value when it is read.
What is not of the annotation's types but comes back all the same (None, from a function that says `-> str`) is marked
when it is written: kept under this annotation, it is no reason to pay twice; kept under another one, it is.
"""

from __future__ import annotations

import json
from typing import Any

from fanmap._policy.journals.plain import Unkeepable, plain_text, same
from fanmap._policy.journals.shapes import Plain, Shape, shape_of
from fanmap._raw import type_name


class Converter:
    """How results of a function with this return annotation are written and read; an unknown one: as plain JSON.

    Raises:
        Unkeepable: nothing of this annotation can be made again.
    """

    def __init__(self, annotation: Any) -> None:
        self._shape = shape_of(annotation)

    def encode(self, value: Any) -> tuple[str, bool]:
        """The value as JSON text, from which it comes back; and is it what the annotation says?

        Raises:
            Unkeepable: it does not come back; any other exception: of a class of the user's.
        """
        shape = self._shape
        if isinstance(shape, Plain):
            data = shape.bare(value)
            return plain_text(data), shape.claims(data)
        text = plain_text(shape.dump(value))
        for exact in (True, False):
            if _comes_back(shape, text, value, exact=exact):
                return text, exact
        raise Unkeepable(f"{type_name(value)} does not round-trip through JSON")

    def decode(self, data: Any, exact: bool) -> Any:
        """The value again; an exception where it is none of the annotation's."""
        return self._shape.load(data, exact=exact)


def _comes_back(shape: Shape, text: str, value: Any, *, exact: bool) -> bool:
    try:
        return same(shape.load(json.loads(text), exact=exact), value)  # not so: a class that changes what it is given
    except Unkeepable:
        return False
