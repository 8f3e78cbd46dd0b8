"""What ends a command early in a way that its user can mend.

Imported by every command line, so nothing else is imported here.
"""

from __future__ import annotations


class CommandError(Exception):
    """Raised when a command cannot go on; its text is one line for the user, never a prompt, reply or key.

    Attributes:
        status: the exit status.
    """

    def __init__(self, text: str, *, status: int) -> None:
        super().__init__(text)
        self.status = status
