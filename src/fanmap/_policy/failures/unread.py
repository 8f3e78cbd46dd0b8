"""The body that urllib has not read yet, as far as it has arrived.

`urllib.error.HTTPError` is raised with its body on the way. The user may want to read it, so it is looked at and not
taken; and nothing waits for it: what has not arrived is as if the server had said nothing. The only place in these
layers that looks at a socket.
"""

from __future__ import annotations

from typing import Any, cast


def arrived(error: object) -> bytes | None:
    """What there is of the body, without taking it and without waiting; None where nobody can tell."""
    try:
        buffered = cast("Any", error).fp.fp  # HTTPError, HTTPResponse, BufferedReader
        socket = buffered.raw._sock
        patience = socket.gettimeout()
        socket.settimeout(0)
        try:
            return bytes(buffered.peek())
        finally:
            socket.settimeout(patience)
    except Exception:
        return None
