"""`fanmap trace`: draw the last run that a journal tells of, also one that was killed or that still goes."""

from __future__ import annotations

import os

from fanmap._failure import CommandError
from fanmap._policy.trace.kept import story_of_journal
from fanmap._stderr import say
from fanmap._trace.target import check_path, check_writable, write


def trace(journal: str, output: str | None) -> int:
    """Read the journal and write the drawing; the journal is not locked, and stays as it is.

    Returns:
        0.

    Raises:
        CommandError: one of the two cannot be used.
    """
    output = f"{journal}.html" if output is None else output
    try:
        check_path(output)
    except ValueError as error:
        raise CommandError(f"-o must end in .html or .json, got {output!r}", status=2) from error
    if os.path.exists(output) and os.path.exists(journal) and os.path.samefile(output, journal):
        raise CommandError(f"JOURNAL and -o are the same file: {journal}", status=2)
    try:
        with open(journal, "rb") as lines:
            story = story_of_journal(os.path.basename(journal), lines)
    except OSError as error:
        raise CommandError(f"{journal} cannot be read: {error.strerror}", status=2) from error
    if story is None:
        raise CommandError(f"{journal} has no fanmap records: give the file of resume=", status=2)
    try:
        check_writable(output)
        write(story, output)
    except OSError as error:
        raise CommandError(f"{output}: {error.strerror}", status=1) from error
    say(f"fanmap: {len(story.spans)} calls drawn in {output}\n")
    return 0
