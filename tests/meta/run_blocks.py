"""Runs the Python blocks of many pages in one process, because importing the clients takes longer than most of them.

Reads `{"pages": [[name, prelude, [[line, code], ...]], ...]}` from its standard input. The blocks of a page share
their names and those of its prelude, as a reader has them when reading from the top. A page in which a block awaits
outside of any function is a notebook: all of its blocks run inside one event loop.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import sys
import time
import types
import warnings

from fanmap.testing import serve


def new_module(page: str, prelude: str) -> types.ModuleType:
    # A real module, so that what looks up `__module__` (pickle, typing, FastAPI) finds it.
    module = types.ModuleType("page_" + "".join(c if c.isalnum() else "_" for c in page))
    sys.modules[module.__name__] = module
    exec(compile(prelude, "<prelude>", "exec"), module.__dict__)
    return module


def compiled(page: str, line: int, code: str) -> types.CodeType:
    code = "\n" * line + code  # so that a traceback names the page's own line
    return compile(code, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


def awaits(code: types.CodeType) -> bool:
    return bool(code.co_flags & inspect.CO_COROUTINE)


def run_page(page: str, prelude: str, blocks: list[tuple[int, str]]) -> None:
    codes = [compiled(page, line, code) for line, code in blocks]
    notebook = any(map(awaits, codes))
    module = new_module(page, prelude)

    async def cell(code: types.CodeType) -> None:
        result = eval(code, module.__dict__)
        if awaits(code):
            await result

    with asyncio.Runner() as runner:
        for code in codes:
            if notebook:
                runner.run(cell(code))
            else:
                eval(code, module.__dict__)


def main() -> None:
    warnings.simplefilter("error")
    story = json.load(sys.stdin)
    with serve(latency=0.002, seed=1) as server:
        # The clients read these, so that a page can say `OpenAI()` as everybody does.
        os.environ.update(OPENAI_BASE_URL=server.openai_url, OPENAI_API_KEY="none")
        os.environ.update(ANTHROPIC_BASE_URL=server.anthropic_url, ANTHROPIC_API_KEY="none")
        os.environ.update(FANMAP_SHARED=os.getcwd())  # names that the pages share are these tests' own
        for page, prelude, blocks in story["pages"]:
            began = time.perf_counter()
            try:
                run_page(page, prelude, blocks)
            except BaseException:
                print(f"on the page {page}", file=sys.stderr)
                raise
            print(f"\nran {len(blocks)} blocks of {page} in {time.perf_counter() - began:.2f} s", flush=True)


if __name__ == "__main__":
    main()
