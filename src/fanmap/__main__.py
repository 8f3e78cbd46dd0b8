"""The command line: `python -m fanmap`, also installed as `fanmap`.

Only what all commands share lives here: names, exit statuses, and that a failure the user can mend is one
line on stderr and no traceback. What a command does is in a package of its own, imported when it is run,
so that `fanmap --help` needs none of the extras.

Exit statuses: 0 done; 1 it began and could not end well; 2 it was called wrongly or something is not
installed; 130 interrupted.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NoReturn

from typing_extensions import override

import fanmap
from fanmap import _early
from fanmap._failure import CommandError
from fanmap._run.arguments import add_run, positive
from fanmap._stderr import is_terminal, lead_nowhere, say

_DEMO = """Translate this project's README into eight languages, five ways: one after the other, .map with a
sync client, .amap with an async client, gather_bounded with another provider's client, and against a server
that refuses more than four requests at once. Takes half a minute, against a simulated server on this machine:
no key, no cost."""

_SHARED = """Show the state of a Limits that processes share: slots, rates, gate, ceiling, and who waits. Exit status 1
if no process uses the name."""

_TRACE = """Draw the last run in a journal: when each finished call began, how long it took, and whether it failed.
This works for a run that was killed or is still running. A journal does not record where a run begins: calls with
less than five minutes between them are drawn as one run. Nor does it record waits: to see those, use trace= on the run
itself, or `fanmap run --trace`."""

_BATCH = """Show the batches that a job has under way, or cancel them. The job is the file given as resume=. The key
comes from OPENAI_API_KEY, AZURE_OPENAI_API_KEY or ANTHROPIC_API_KEY, and goes to the provider's own server, or to the
one that OPENAI_BASE_URL, AZURE_OPENAI_ENDPOINT or ANTHROPIC_BASE_URL names."""

# What people write who know another tool's words.
_OTHER_WORDS: Final = {
    "--workers": "--max-concurrency", "--max-workers": "--max-concurrency", "--jobs": "--max-concurrency",
    "--n-jobs": "--max-concurrency", "-j": "--max-concurrency", "-n": "--limit", "--head": "--limit",
    "--max-rows": "--limit", "--retries": "--retry", "--max-retries": "--retry", "--attempts": "--retry",
    "--sep": "--delimiter", "--separator": "--delimiter", "--requests-per-minute": "--rpm", "--rate": "--rpm",
    "--rate-limit": "--rpm", "--tokens-per-minute": "--tpm", "--budget": "--max-spend", "--max-cost": "--max-spend",
    "--max-errors": "--max-failures", "--timeout": "--deadline", "--checkpoint": "--resume", "--cache": "--resume",
    "--journal": "--resume", "--out": "--output", "--silent": "--quiet", "-q": "--quiet", "--field": "--map",
    "--column": "--map", "--format": "--input-format",
}  # fmt: skip


class _Parser(argparse.ArgumentParser):
    """A parser that complains in one line."""

    @override
    def error(self, message: str) -> NoReturn:
        say(f"fanmap: {message} (try: {self.prog} --help)\n")
        self.exit(2)

    def refuse(self, words: Sequence[str]) -> NoReturn:
        """Complain of words that nothing is known of."""
        option = words[0].partition("=")[0]
        known = [name for name in self._option_string_actions if name.startswith("--")]
        close = _OTHER_WORDS.get(option) or next(iter(difflib.get_close_matches(option, known, n=1, cutoff=0.8)), None)
        meant = f": did you mean {close}?" if close in known else ""
        self.error(f"unrecognized arguments: {' '.join(words)}{meant}")


def _parser() -> tuple[_Parser, dict[str, _Parser]]:
    parser = _Parser(prog="fanmap", description=fanmap.__doc__)
    parser.add_argument("--version", action="version", version=f"fanmap {fanmap.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    demo = commands.add_parser("demo", help="see it work, on this machine, in half a minute", description=_DEMO)
    demo.add_argument(
        "--output", default="translations", metavar="DIR", help="where the translations go (default: translations)"
    )
    demo.add_argument(
        "--scale",
        type=positive,
        default=1.0,
        metavar="FACTOR",
        help="multiply the simulated latencies by this (default: 1)",
    )
    demo.add_argument(
        "--trace", nargs="?", const="run.html", metavar="PATH",
        help="write a trace of the .amap run: a page (.html) or trace events (.json) (default: run.html)",
    )  # fmt: skip
    real = demo.add_argument_group("against a real endpoint (OpenAI-compatible: Ollama, vLLM, OpenAI, ...)")
    real.add_argument("--base-url", metavar="URL", help="for instance http://localhost:11434/v1")
    real.add_argument("--model", metavar="NAME", help="the model to ask; needed with --base-url")
    real.add_argument(
        "--api-key-env", metavar="VARIABLE", help="the environment variable that holds the key (default: send none)"
    )
    add_run(commands)
    trace = commands.add_parser("trace", help="draw the last run of a journal", description=_TRACE)
    trace.add_argument("journal", metavar="JOURNAL", help="the file of resume=, or OUTPUT.journal of `fanmap run`")
    trace.add_argument(
        "-o", "--output", metavar="PATH", help="a page (.html) or trace events (.json) (default: JOURNAL.html)"
    )
    shared = commands.add_parser("shared", help="show or reset a Limits that processes share", description=_SHARED)
    shared.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="as in Limits(shared=NAME): a name, path or URL (default: list the names)",
    )
    shared.add_argument("--watch", action="store_true", help="refresh every second, until Ctrl-C")
    shared.add_argument("--reset", action="store_true", help="clear what is stored under the name")
    batch = commands.add_parser("batch", help="show or cancel the batches of a job", description=_BATCH)
    batch.add_argument("what", metavar="{status,cancel}", choices=["status", "cancel"])
    batch.add_argument("file", metavar="FILE", help="the file given as resume=")
    return parser, commands.choices


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after the program's name. None: those of this process.

    Returns:
        The exit status.

    Raises:
        SystemExit: after `--help`, `--version` and wrong usage, as argparse has it.
    """
    parser, commands = _parser()
    options, unknown = parser.parse_known_args(argv)
    if unknown:
        commands.get(options.command, parser).refuse(unknown)
    if options.command is None:
        say(parser.format_help())
        return 2
    try:
        _early.import_is_over()
        return _COMMANDS[options.command](options)
    except CommandError as failure:
        say(f"fanmap: {failure}\n")
        return failure.status
    except KeyboardInterrupt:
        pass  # told below: as long as the exception lives, so does a bar, and it would have the last word
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`). The interpreter flushes once more on its way out.
        with suppress(AttributeError, OSError, ValueError):
            lead_nowhere(sys.stdout.fileno())
        return 1
    # Where Ctrl-C came within an exec of text (dataclasses and namedtuples are made so), Python remembers it and
    # dies by the signal at exit, whatever the status says, unless it has run some text since.
    exec("")
    lead = "\n" if is_terminal() else ""  # the terminal has written ^C
    say(f"{lead}fanmap: interrupted\n")
    return 130


def _demo(options: argparse.Namespace) -> int:
    from fanmap._demo.command import demo

    return demo(
        output=options.output,
        scale=options.scale,
        base_url=options.base_url,
        model=options.model,
        key_variable=options.api_key_env,
        trace=options.trace,
    )


def _run(options: argparse.Namespace) -> int:
    from fanmap._run.command import run
    from fanmap._run.run_args import RunArgs

    given = vars(options)
    del given["command"]
    return run(RunArgs(**given))


def _shared(options: argparse.Namespace) -> int:
    from fanmap._shared.command import shared

    return shared(options.name, watch=options.watch, reset=options.reset)


def _trace(options: argparse.Namespace) -> int:
    from fanmap._run.drawing import trace

    return trace(options.journal, options.output)


def _batch(options: argparse.Namespace) -> int:
    from fanmap._batch_command.command import batch

    return batch(options.what, options.file)


_COMMANDS: Final[dict[str, Callable[[argparse.Namespace], int]]] = {
    "demo": _demo,
    "run": _run,
    "shared": _shared,
    "trace": _trace,
    "batch": _batch,
}


if __name__ == "__main__":
    sys.exit(main())
