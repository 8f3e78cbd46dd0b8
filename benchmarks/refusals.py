"""What refusals cost, beside what a user writes today: tables, and `benchmarks/refusals.json`.

    python -m benchmarks.refusals [adaptive] [rate] [penalty] [peers] [--seeds 50]

adaptive, rate, penalty: simulated servers in virtual time; every call goes through the engine.
peers: real time against the loopback server, with the real openai client (its own retries off), beside
pyarallel (Python 3.12) and async-batch-llm where they are installed: `pip install -e ".[bench]"`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import capacity, penalty

RESULTS = Path(__file__).with_name("refusals.json")


def show(title: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
    print(f"\n{title}")
    heads: list[str] = list(dict.fromkeys(head for row in rows.values() for head in row))
    cells = [["", *heads]] + [[name, *(text(row.get(head)) for head in heads)] for name, row in rows.items()]
    widths = [max(len(line[place]) for line in cells) for place in range(len(heads) + 1)]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        return " / ".join(text(one) for one in value.values())
    if isinstance(value, float):
        return f"{value:.4f}" if value < 0.1 and value else f"{value:.3f}" if value < 10 else f"{value:.1f}"
    return str(value)


def main() -> None:
    parts = {
        "adaptive": ("Adaptive, median / worst over the seeds", lambda: capacity.adaptive_table(options.seeds)),
        "rate": ("Rate under steady demand", capacity.rate_table),
        "penalty": ("One 429 with Retry-After 2 s under 16 workers, 200 items", penalty.penalty_table),
        "spent": ("20 items on an account without credit, 16 workers", penalty.spent_table),
        "peers": ("Real time, the same two, beside peers", penalty.peers_table),
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *parts], default=[])
    parser.add_argument("--seeds", type=int, default=50)
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in options.parts or parts:
        title, table = parts[name]
        results[name] = rows = table()
        results.setdefault("python", {})[name] = sys.version.split()[0]
        show(title, rows)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
