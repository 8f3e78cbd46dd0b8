"""A module imports only from the layers below its own, and `_policy` does nothing but decide."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

import fanmap

ROOT = Path(fanmap.__file__).parent

# Lower layers first; a module may import from its own and from lower ones.
LAYERS = {
    "_outcome": 0, "_errors": 0, "_types": 0, "_batch_types": 0, "_usage": 0, "_partial": 0, "_raw": 0, "_public": 0, "_hints": 0, "_early": 0,
    "_policy": 1,
    "_drive": 2,
    "_plan": 3, "_callables": 3, "_inputs": 3, "_bar": 3, "_collect": 3, "_results": 3, "_lazy_run": 3, "_progress": 3, "_resume": 3, "_batch": 3, "_trace": 3, "_drawn": 3, "_entries": 3, "_decorated": 3, "_preparing": 3, "_batching": 3, "_ways": 3, "_functions": 3, "_streams": 3, "_map": 3, "_gather": 3, "_bridge": 3, "types": 3,
    "testing": 4, "__main__": 4, "_failure": 4, "_stderr": 4, "_demo": 4, "_run": 4, "_shared": 4, "_batch_command": 4, "": 4,
}  # fmt: skip
EFFECTS = {"threading", "asyncio", "time", "trio", "anyio", "socket", "logging", "random", "contextvars", "os"}


def modules() -> list[tuple[Path, str, int]]:
    found: list[tuple[Path, str, int]] = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        first = "" if parts == ("__init__",) else parts[0]
        assert first in LAYERS, f"{path.name} belongs to no layer: give it one in this test"
        found.append((path, first, LAYERS[first]))
    return found


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@cache
def imported(path: Path) -> list[str]:
    names: list[str] = []
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def test_a_module_imports_only_from_its_own_layer_or_below() -> None:
    wrong: list[str] = []
    for path, _, layer in modules():
        for name in imported(path):
            parts = name.split(".")
            if parts[0] != "fanmap" or len(parts) < 2:
                continue
            target = parts[1] if parts[1] in LAYERS else ""
            if LAYERS[target] > layer:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_policy_has_no_thread_loop_clock_or_chance() -> None:
    wrong: list[str] = []
    for path, first, _ in modules():
        if first == "_policy":
            for name in imported(path):
                if name.split(".")[0] in EFFECTS:
                    wrong.append(f"{path.name} imports {name}")
    assert not wrong


@pytest.mark.whole
def test_only_the_clock_reads_the_time() -> None:
    wrong = [
        path.name
        for path, first, layer in modules()
        if layer <= 3 and path.name != "clock.py" and any(name.split(".")[0] == "time" for name in imported(path))
    ]
    assert not wrong


@pytest.mark.whole
def test_a_programs_own_chance_is_left_alone() -> None:
    """Also from other threads: somebody's `random.seed(0)` draws what it says, and hypothesis sees nothing move."""
    wrong: list[str] = []
    for path, _, _ in modules():
        for node in nodes(path):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "random":
                names = [node.attr]
            elif isinstance(node, ast.ImportFrom) and node.module == "random":
                names = [alias.name for alias in node.names]
            else:
                continue
            wrong += [f"{path.name}: random.{name}" for name in names if name not in {"Random", "SystemRandom"}]
    assert not wrong


def test_importing_fanmap_imports_no_client_and_no_optional_package() -> None:
    import subprocess
    import sys

    unwanted = ["trio", "openai", "anthropic", "httpx", "requests", "starlette", "uvicorn", "tqdm", "hypothesis"]
    code = f"import fanmap, sys; print([m for m in {unwanted} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout.strip() == "[]"
