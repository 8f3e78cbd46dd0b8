"""Which mutants of a module that decides do its tests let live?

    python -m tests.mutate limits/admission              # the module's own tests
    python -m tests.mutate limits/admission 28 30 43     # only these mutants again
    python -m tests.mutate shared/ledger

One small change at a time (an operator, a number, a text, a condition, a statement), in memory: no file is
touched. Each mutant meets its tests in a fork of a process that has imported everything else, which takes
half a second where the tests do. A mutant that hangs, for 20 s or three times as long as the module itself
takes, is killed. POSIX only; not collected by pytest.
Those that live are read in `mutations.md`.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import gc
import importlib.machinery
import math
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 20.0  # of a mutant's tests at least before it is killed

TESTS = {
    "limits/adaptive": ["unit/test_adaptive.py", "property/test_repeating.py"],
    "limits/admission": [
        "unit/test_admission.py",
        "unit/test_kinds.py",
        "unit/test_total.py",
        "property/test_admission.py",
        "property/test_kinds.py",
        "property/test_total.py",
    ],
    "limits/appointments": ["unit/test_admission.py", "unit/test_kinds.py", "property/test_admission.py"],
    "runs/as_completed": ["unit/test_results.py", "property/test_results.py", "unit/test_flow.py"],
    "runs/attempt": ["unit/test_attempt.py", "property/test_repeating.py"],
    "failures/bodies": ["unit/test_read_body.py", "unit/test_bodies.py", "unit/test_signals.py", "unit/test_rpc.py"],
    "limits/brake": ["unit/test_brake.py", "property/test_repeating.py"],
    "calls/caller": ["unit/test_calls.py", "unit/test_worker.py"],
    "journals/canonical": ["unit/test_plain_and_shapes.py", "unit/test_journal_lines.py"],
    "failures/connections": ["unit/test_signals.py"],
    "journals/converter": ["unit/test_converter.py", "unit/test_plain_and_shapes.py"],
    "runs/crew": ["unit/test_flow.py"],
    "limits/door": ["unit/test_door.py"],
    "calls/entering": ["unit/test_calls.py", "unit/test_worker.py"],
    "runs/exchanging": ["unit/test_worker.py"],
    "runs/flow": ["unit/test_flow.py"],
    "limits/followed": ["unit/test_followed.py"],
    "foreign": ["unit/test_signals.py", "property/test_signals.py"],
    "failures/groups": ["unit/test_groups.py", "unit/test_signals.py"],
    "failures/hidden": ["unit/test_hidden.py", "unit/test_signals.py"],
    "runs/in_list": ["unit/test_results.py", "property/test_results.py", "unit/test_flow.py"],
    "runs/in_order": ["unit/test_results.py", "property/test_results.py", "unit/test_flow.py"],
    "runs/inputs": ["unit/test_inputs.py", "unit/test_flow.py"],
    "journals/journal": ["unit/test_journal_lines.py", "property/test_journal.py"],
    "journals/kept": ["unit/test_kept.py"],
    "limits/kinds": ["unit/test_kinds.py", "property/test_kinds.py"],
    "tokens/learned": ["unit/test_learned.py"],
    "limits/line": ["unit/test_admission.py", "property/test_admission.py"],
    "limits/lines": [
        "unit/test_admission.py",
        "unit/test_kinds.py",
        "unit/test_total.py",
        "property/test_admission.py",
        "property/test_kinds.py",
        "property/test_total.py",
    ],
    "tokens/money": ["unit/test_money.py"],
    "limits/news": ["unit/test_news.py"],
    "calls/outcomes": ["unit/test_calls.py", "unit/test_worker.py"],
    "limits/permit": ["unit/test_admission.py", "property/test_admission.py"],
    "journals/plain": ["unit/test_converter.py", "unit/test_plain_and_shapes.py"],
    "limits/quotas": ["unit/test_quotas.py"],
    "failures/quotations": ["unit/test_words.py"],
    "limits/rate": ["unit/test_rate.py", "property/test_rate.py"],
    "runs/refusals": ["unit/test_item_refusals.py", "property/test_repeating.py"],
    "failures/replies": ["unit/test_signals.py", "unit/test_hidden.py", "unit/test_rpc.py", "property/test_signals.py"],
    "runs/results": ["unit/test_results.py", "property/test_results.py", "unit/test_flow.py"],
    "failures/rpc": ["unit/test_rpc.py", "property/test_signals.py"],
    "journals/shapes": ["unit/test_converter.py", "unit/test_plain_and_shapes.py"],
    "failures/signals": [
        "unit/test_signals.py",
        "unit/test_bodies.py",
        "unit/test_attempt.py",
        "property/test_signals.py",
    ],
    "limits/refusal": ["unit/test_refusal.py"],
    "runs/stopping": ["unit/test_flow.py"],
    "limits/starts": ["unit/test_admission.py", "property/test_admission.py", "unit/test_total.py"],
    "tokens/tokens": ["unit/test_tokens.py"],
    "limits/total": ["unit/test_total.py", "property/test_total.py"],
    "failures/unread": ["unit/test_unread.py"],
    "tokens/usage": ["unit/test_usage.py"],
    "failures/verdict": ["unit/test_signals.py", "property/test_signals.py"],
    "failures/waits": ["unit/test_signals.py", "property/test_signals.py"],
    "failures/words": ["unit/test_words.py", "unit/test_bodies.py", "unit/test_signals.py"],
    "runs/worker": ["unit/test_worker.py"],
    "batch/hand_ins": ["unit/test_batch_policy.py"],
    "batch/job": ["unit/test_batch_policy.py"],
    "batch/ledger": ["unit/test_batch_policy.py"],
    "batch/patience": ["unit/test_batch_patience.py"],
    "batch/question": ["unit/test_batch_policy.py"],
    "batch/siblings": ["unit/test_batch_siblings.py"],
    "batch/spending": ["unit/test_batch_spending_policy.py"],
    "shared/booking": ["unit/test_shared_ledger.py"],
    "shared/demand": ["unit/test_shared_member.py"],
    "shared/happenings": ["unit/test_shared_member.py"],
    "shared/joining": ["unit/test_shared_ledger.py"],
    "shared/ledger": ["unit/test_shared_ledger.py"],
    "shared/member": ["unit/test_shared_member.py"],
    "shared/news": ["unit/test_shared_ledger.py"],
    "shared/offset": ["unit/test_shared_member.py"],
    "shared/rates": ["unit/test_shared_rates.py", "unit/test_shared_ledger.py", "property/test_shared_rates.py"],
    "shared/replying": ["unit/test_shared_ledger.py"],
    "shared/shares": ["unit/test_shared_shares.py"],
    "shared/standing": ["unit/test_shared_member.py"],
    "shared/told": ["unit/test_shared_told.py"],
    "shared/total": ["unit/test_shared_totals.py"],
    "shared/totals": ["unit/test_shared_totals.py"],
    "shared/turns": ["unit/test_shared_turns.py"],
    "shared/wanted": ["unit/test_shared_member.py"],
    "limits/watching": ["unit/test_admission.py", "unit/test_kinds.py", "property/test_admission.py"],
}
DRIVE = {"calls/caller", "calls/entering", "calls/outcomes", "runs/exchanging", "runs/worker"}  # all others: _policy

COMPARISONS: dict[type[ast.cmpop], list[type[ast.cmpop]]] = {
    ast.Lt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
NOT_BEHAVIOUR = {"__slots__", "__all__", "Strategy", "Record"}  # assignments that say what things are


def of_expression(node: ast.AST) -> Iterator[ast.expr]:
    """What to put in place of one expression."""
    match node:
        case ast.Compare():
            for place, operator in enumerate(node.ops):
                for other in COMPARISONS[type(operator)]:
                    changed = copy.deepcopy(node)
                    changed.ops[place] = other()
                    yield changed
        case ast.BinOp() if type(node.op) in ARITHMETIC:
            yield ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right)
        case ast.BoolOp():
            yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
            for place in range(len(node.values)):
                rest = node.values[:place] + node.values[place + 1 :]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node.operand
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int()):
            yield ast.Constant(node.value + 1)
            if node.value:
                yield ast.Constant(node.value - 1)
        case ast.Constant(value=float()):
            yield ast.Constant(node.value + 1.0)
            if node.value:
                yield ast.Constant(node.value * 0.5)
        case ast.Constant(value=str()) if node.value:
            yield ast.Constant("XX" + node.value)
        case ast.IfExp():
            yield node.body
            yield node.orelse
        case ast.Call(func=ast.Name(id="min" | "max" | "any" | "all" as name)):
            other = {"min": "max", "max": "min", "any": "all", "all": "any"}[name]
            yield ast.Call(ast.Name(other, ast.Load()), node.args, node.keywords)
            if len(node.args) > 1 and not node.keywords:
                for place in range(len(node.args)):
                    rest = node.args[:place] + node.args[place + 1 :]
                    yield rest[0] if len(rest) == 1 else ast.Call(node.func, rest, [])
        case ast.Call(func=ast.Name(id="sorted" | "float" | "int")) if node.args:
            yield node.args[0]
        case _:
            return


def of_statement(node: ast.stmt) -> Iterator[ast.stmt]:
    """What to put in place of one statement of a function."""
    match node:
        case ast.Return(value=None | ast.Constant(value=None)):
            yield ast.Pass()
        case ast.Return():
            yield ast.Return(ast.Constant(None))
        case ast.If():
            for test in (True, False):
                yield ast.If(ast.Constant(test), node.body, node.orelse)
        case ast.While():
            yield ast.While(ast.Constant(False), node.body, node.orelse)
        case ast.AugAssign():
            yield ast.Pass()
            if type(node.op) in ARITHMETIC:
                yield ast.AugAssign(node.target, ARITHMETIC[type(node.op)](), node.value)
        case ast.Expr() | ast.Assign() | ast.Raise() | ast.Break() | ast.Continue() | ast.Delete() | ast.Assert():
            yield ast.Pass()
        case ast.AnnAssign(value=ast.expr()):
            yield ast.Pass()
        case _:
            return


def is_behaviour(node: ast.AST) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()):
            return False
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name not in NOT_BEHAVIOUR
    return True


def mutants(source: str) -> list[tuple[int, str, str]]:
    """Line, what was changed, and the whole text of each mutant."""
    tree = ast.parse(source)
    seen = {ast.unparse(tree)}
    found: list[tuple[int, str, str]] = []

    def put(node: ast.AST, field: str, place: int | None, old: ast.AST, new: ast.AST) -> None:
        siblings = getattr(node, field)
        if place is None:
            setattr(node, field, new)
        else:
            siblings[place] = new
        text = ast.unparse(ast.fix_missing_locations(tree))
        if place is None:
            setattr(node, field, old)
        else:
            siblings[place] = old
        if text not in seen:
            seen.add(text)
            before, after = (" ".join(ast.unparse(part).split()) for part in (old, new))
            found.append((getattr(old, "lineno", 0), f"{before[:80]}  =>  {after[:80]}", text))

    def visit(node: ast.AST, in_function: bool) -> None:
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns", "bases"):
                continue
            for place, child in enumerate(value if isinstance(value, list) else [value]):
                if not isinstance(child, ast.AST) or not is_behaviour(child):
                    continue
                if not isinstance(child, ast.stmt):
                    changed: Iterator[ast.AST] = of_expression(child)
                else:
                    changed = of_statement(child) if in_function else iter(())
                for new in changed:
                    put(node, field, place if isinstance(value, list) else None, child, new)
                visit(child, in_function or isinstance(child, ast.FunctionDef))

    visit(tree, False)
    return found


def tests_pass(path: Path, text: str | None, tests: list[str], seconds: float) -> bool:
    """Do the tests pass in time, in a fork, with this text in the module's place (None: as it is)?"""
    import pytest

    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.setpgid(0, 0)
            read = importlib.machinery.SourceFileLoader.get_data
            if text is not None:
                importlib.machinery.SourceFileLoader.get_data = (  # type: ignore[method-assign]
                    lambda loader, name: text.encode() if name == str(path) else read(loader, name)
                )
            # No compiled text is read either: it would be that of the unchanged module.
            importlib.machinery.SourceFileLoader.path_stats = _no_stats  # type: ignore[method-assign, assignment]
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
            plugins = ["--disable-plugin-autoload", "-p", "_hypothesis_pytestplugin", "-p", "no:cacheprovider"]
            code = int(pytest.main(["-x", "-q", "--hypothesis-seed=0", "--assert=plain", *plugins, *tests]))
        finally:
            os._exit(code)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _no_stats(loader: object, path: str) -> dict[str, int]:
    raise OSError(path)


def main(module: str, *only: str) -> None:
    sys.dont_write_bytecode = True
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = tempfile.mkdtemp()
    path = ROOT / "src" / "fanmap" / ("_drive" if module in DRIVE else "_policy") / f"{module}.py"
    tests = [str(ROOT / "tests" / name) for name in TESTS[module]]
    for name in ("hypothesis.stateful", "tenacity", "anyio", "aiolimiter", "httpx", "openai", "anthropic", "requests"):
        with contextlib.suppress(ImportError):  # all that is imported anyway, but for the package itself
            importlib.import_module(name)
    gc.freeze()
    all_of_them = list(enumerate(mutants(path.read_text())))
    chosen = [pair for pair in all_of_them if not only or str(pair[0]) in only]
    began = time.monotonic()
    if not tests_pass(path, None, tests, math.inf):
        sys.exit(f"the tests of {module} do not pass as they are")
    seconds = max(SECONDS, 3 * (time.monotonic() - began))
    living = 0
    for number, (line, what, text) in chosen:
        if tests_pass(path, text, tests, seconds):
            living += 1
            print(f"{module} {number}, line {line}: {what}", flush=True)
    print(f"{module}: {len(chosen)} made, {len(chosen) - living} killed, {living} living")


if __name__ == "__main__":
    main(*sys.argv[1:])
