"""The command line: `python -m fanmap`, also installed as `fanmap`.

Only what all commands share lives here: names, exit statuses, and that a failure the user can mend is one
line on stderr and no traceback. What a command does is in a package of its own, imported when it is run,
so that `fanmap --help` needs none of the extras.

Exit statuses: 0 done; 1 it began and could not end well; 2 it was called wrongly or something is not
installed; 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from typing_extensions import override

import fanmap
from fanmap._failure import Failure
from fanmap._run.arguments import add_run, positive

_DEMO = """Translate this project's README into eight languages, five ways: one after the other, .map with a
sync client, .amap with an async client, gather_bounded with another provider's client, and against a server
that refuses more than four requests at once. Runs half a minute against a simulated server on this machine:
no key, no cost."""


class _Parser(argparse.ArgumentParser):
    """A parser that complains in one line."""

    @override
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"fanmap: {message} (try: {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="fanmap", description=fanmap.__doc__)
    parser.add_argument("--version", action="version", version=f"fanmap {fanmap.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    demo = commands.add_parser("demo", help="see it work, on this machine, in half a minute", description=_DEMO)
    demo.add_argument(
        "--output", default="translations", metavar="DIR", help="where the translations go (default: translations)"
    )
    demo.add_argument(
        "--scale", type=positive, default=1.0, metavar="FACTOR", help="times the simulated latencies (default: 1)"
    )
    real = demo.add_argument_group("against a real endpoint (OpenAI-compatible: Ollama, vLLM, OpenAI, ...)")
    real.add_argument("--base-url", metavar="URL", help="for instance http://localhost:11434/v1")
    real.add_argument("--model", metavar="NAME", help="the model to ask; needed with --base-url")
    real.add_argument(
        "--api-key-env", metavar="VARIABLE", help="the environment variable that holds the key (default: send none)"
    )
    add_run(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after the program's name. None: those of this process.

    Returns:
        The exit status.

    Raises:
        SystemExit: after `--help`, `--version` and wrong usage, as argparse has it.
    """
    parser = _parser()
    options = parser.parse_args(argv)
    if options.command is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        return _run(options) if options.command == "run" else _demo(options)
    except Failure as failure:
        print(f"fanmap: {failure}", file=sys.stderr)
        return failure.status
    except KeyboardInterrupt:
        pass  # told below: as long as the exception lives, so does a bar, and it would have the last word
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`). The interpreter flushes once more on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    lead = "\n" if sys.stderr.isatty() else ""  # the terminal has written ^C
    print(f"{lead}fanmap: interrupted", file=sys.stderr)
    return 130


def _demo(options: argparse.Namespace) -> int:
    from fanmap._demo.command import demo

    return demo(
        output=options.output,
        scale=options.scale,
        base_url=options.base_url,
        model=options.model,
        key_variable=options.api_key_env,
    )


def _run(options: argparse.Namespace) -> int:
    from fanmap._run.command import run
    from fanmap._run.given import Given

    given = vars(options)
    del given["command"]
    return run(Given(**given))


if __name__ == "__main__":
    sys.exit(main())
