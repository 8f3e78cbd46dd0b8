"""`fanmap demo`, from its options to its exit status.

Everything that can be wrong with the call is found before the first request. What is in the extras is imported
only after that, so that what is not installed is one line.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from fanmap._demo.address import Address, read_address
from fanmap._demo.files import LANGUAGES, Folder
from fanmap._demo.readme import find_readme
from fanmap._failure import CommandError
from fanmap._run.trace_path import check_trace

if TYPE_CHECKING:
    from fanmap._demo.endpoint import Real, Simulated
    from fanmap._demo.table import Row
    from fanmap._demo.ways import Results, Way

_INTRO = """\
This project's README, about {tokens:,} tokens, into {count} languages, a call for each.
{where}
`translate` makes one call with a real client; the client's own retries are off
(max_retries=0). For .map and .amap it is decorated with @parallel_map, and
nothing is configured.
"""
_SIMULATED = """\
Runs against a simulated server on this machine: no key, no cost, and what it
"translates" is the English text with a mark."""
_REAL = """\
Runs against {at.shown}, model {at.model}:
{requests} requests, which may cost money."""
_LOADING = "Loading the clients ...\n"
_LEGEND = """\
speed-up: compared with one after the other. ideal: seconds that the same calls
would take if no slot were ever idle; with eight at once, the slowest call.
requests, refused: counted by {who}. lost: languages left without a
translation.
"""

_NEXT = """\
Next: decorate a function of yours that makes one call.

    from fanmap import parallel_map

    @parallel_map(max_concurrency=8)
    def ask(prompt): ...

    answers = ask.map(prompts)

A function over a file, without a script: fanmap run job:ask in.csv -o out.csv
"""
_NEXT_SIMULATED = """\
This demo with a real model:
    fanmap demo --base-url http://localhost:11434/v1 --model llama3.2
"""


def demo(
    *,
    output: str,
    scale: float,
    base_url: str | None,
    model: str | None,
    key_variable: str | None,
    trace: str | None = None,
) -> int:
    """Run the demo and print what came out.

    Returns:
        0; 1 where a way of ours left a language without a translation.

    Raises:
        CommandError: it cannot run, as its text says.
    """
    check_trace(trace)
    address = read_address(base_url, model, key_variable)
    modules = ["openai", "tqdm"] if address else ["openai", "anthropic", "tqdm", "starlette", "uvicorn"]
    _need(modules)
    text = find_readme()
    folder = Folder(output, simulated=address is None)
    _say(_INTRO.format(tokens=len(text) // 4, count=len(LANGUAGES), where=_where(address)))
    _say(_LOADING)
    for module in modules:
        import_module(module)  # a second and more, which is not to be measured

    from fanmap._demo.endpoint import Real, Simulated
    from fanmap._demo.table import table
    from fanmap._demo.ways import WAYS

    bars = sys.stderr.isatty()  # elsewhere every step of a bar would be a line
    endpoint = Real(text, bars, address) if address else Simulated(text, bars, scale)
    drawn = next(way for way in reversed(WAYS) if way.ours and (way.anywhere or not address))
    rows, saved, missing = _go_all(WAYS, endpoint, address, folder, {drawn.number: trace})
    _say(f"{saved} translations are in {folder.path}/, from README_CHINESE.md to README_KOREAN.md.\n")
    if trace is not None:
        _say(f"The run of {drawn.number} is drawn in {trace}.\n")
    _say(table(rows) + "\n")
    _say(_LEGEND.format(who="this side" if address else "the server"))
    _say(_NEXT if address else _NEXT + _NEXT_SIMULATED)
    return int(missing)


def _go_all(
    ways: Sequence[Way],
    endpoint: Simulated | Real,
    address: Address | None,
    folder: Folder,
    traces: Mapping[str, str | None],
) -> tuple[list[Row], int, bool]:
    """Go one way after the other; the table's rows, translations saved, and has a way of ours left one out?"""
    from fanmap._demo.table import Row

    rows: list[Row] = []
    saved: set[str] = set()
    missing = False
    for way in ways:
        if address and not way.anywhere:
            rows.append(Row(f"{way.number:<3}{way.name}: skipped, needs the simulated server"))
            continue
        row, results = _go(way, endpoint, address, traces.get(way.number))
        rows.append(row)
        translations = {
            language: result
            for language, result in zip(LANGUAGES, results, strict=True)
            if isinstance(result, str) and language not in saved
        }
        folder.save(translations)
        saved.update(translations)
        missing = missing or (way.ours and row.lost > 0)
    return rows, len(saved), missing


def _go(way: Way, endpoint: Simulated | Real, address: Address | None, trace: str | None) -> tuple[Row, Results]:
    """Go one way, and tell while it goes."""
    from fanmap._demo.endpoint import explain
    from fanmap._demo.table import measured

    _say(f"{way.number:<3}{way.title}\n   {way.line}")
    with endpoint.open(way.server_allows) as (job, requests):
        job = replace(job, trace=trace)
        began = time.perf_counter()
        try:
            results = way.run(job)
        except Exception as error:
            if address is None or way.ours:
                raise  # a bug: not the endpoint's doing
            raise explain(error, address) from error
        seconds = time.perf_counter() - began
        failures = [type(result).__name__ for result in results if isinstance(result, BaseException)]
        row = measured(f"{way.number:<3}{way.name}", seconds, requests(), len(failures), way.at_once)
    lost = f", {len(failures)} LOST ({', '.join(sorted(set(failures)))})," if failures else ""
    _say(f"   {len(results) - len(failures)} translated{lost} in {seconds:.1f} s\n")
    return row, results


def _where(address: Address | None) -> str:
    return _REAL.format(at=address, requests=3 * len(LANGUAGES)) if address else _SIMULATED


def _need(modules: list[str]) -> None:
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise CommandError(f'the demo needs {", ".join(missing)}: pip install "fanmap[demo]"', status=2)


def _say(text: str) -> None:
    print(text, flush=True)  # before the bars, which go to stderr
