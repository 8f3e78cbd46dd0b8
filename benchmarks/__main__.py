"""Everything, side by side: prints tables, writes results.json and the docs' picture.

    pip install -e ".[bench]"
    python -m benchmarks [--quick] [--only async threads latency rates small growth journal real] [--out FILE]

A library that is not installed is named as such and left out. `--quick` does a fiftieth: is every way still alive?
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks import calls, growth, journal, latency, lazy, plot, rates, real_clients, small
from benchmarks.measure import Table

_PEERS = ("aiometer", "streamable", "tqdm", "joblib", "langchain-core", "pocketflow", "pyarallel", "async-batch-llm",
          "anyio", "aiolimiter", "pyrate-limiter", "openai")  # fmt: skip


def _sections(quick: bool, rounds: int) -> dict[str, Iterable[Callable[[], Table | list[Table]]]]:
    many = 400 if quick else 20_000
    latencies = 200 if quick else 2_000
    million = 20_000 if quick else 1_000_000
    return {
        "async": [lambda: calls.async_tables(many, rounds, 64)],
        "threads": [lambda: calls.thread_table(many, rounds, 64), lambda: calls.thread_table(many, rounds, 8)],
        "latency": [lambda: latency.table(latencies, rounds, 64), lambda: latency.table(latencies, rounds, 512)],
        "rates": [lambda: rates.table(200, 0.5 if quick else 3.0), lambda: rates.table(50, 0.5 if quick else 3.0)],
        "small": [
            lambda: small.thread_start(rounds),
            lambda: small.one_call(rounds),
            lambda: small.first_result(1 if quick else 3),
            lambda: small.memory(million),
            lambda: small.imports(rounds),
            lambda: lazy.table(2_000 if quick else 50_000),
        ],
        "growth": [
            lambda: growth.items(million),
            lambda: growth.workers(10_000 if quick else 100_000),
            lambda: growth.waiting(1_000 if quick else 50_000),
        ],
        "journal": [lambda: journal.table(200 if quick else 5_000, rounds)],
        "real": [
            lambda: real_clients.table(latencies, 1 if quick else 3, 64),
            lambda: real_clients.table(latencies, 1 if quick else 3, 256),
        ],
    }


def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in _PEERS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", default=None)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results.json")
    parser.add_argument("--plot", type=Path, default=None, help="write the picture there, too")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    sections = _sections(options.quick, rounds)
    unknown = set(options.only or ()) - set(sections)
    if unknown:
        parser.error(f"--only must be of {', '.join(sections)}, got {', '.join(sorted(unknown))}")

    began = time.perf_counter()
    results: dict[str, Any] = {
        "python": platform.python_version(),
        "system": platform.system(),
        "cpus": os.cpu_count(),
        "load": [round(load, 1) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "rounds": rounds,
        "packages": _versions(),
        "tables": {},
    }
    print(f"Python {results['python']}, {results['cpus']} CPUs, load {results['load']}, medians of {rounds}")
    for name, section in sections.items():
        if options.only is not None and name not in options.only:
            continue
        for make in section:
            try:
                made = make()
            except ImportError as error:
                print(f"\n{name}: not installed ({error.name})")
                continue
            for table in made if isinstance(made, list) else [made]:
                print(table, flush=True)
                results["tables"][table.key] = table.as_json()
                options.out.write_text(json.dumps(results, indent=1) + "\n")
    print(f"\n{options.out.name} written after {time.perf_counter() - began:.0f} s", file=sys.stderr)
    if options.plot is not None:
        plot.draw(results, options.plot)


if __name__ == "__main__":
    main()
