import gc
import os
import re
import signal
import socket
import sys
import traceback
from collections import defaultdict, deque
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from fanmap.testing import _virtual

_virtual._LAST_WORDS = 120.0  # a busy machine may be late with the end of a thread
# Nobody here speaks TLS: a folder without certificates, as each client would read the 140 that there are (40 ms).
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = str(Path(__file__).parent)
ALL = int(os.environ.get("FANMAP_SEEDS", "0")) >= 2000

# Whether the tests are green depends on what is tested: the same examples each time, unless others are asked for, and
# a tenth of those that CI tries. A busy machine is no defect.
settings.register_profile(
    "fanmap",
    deadline=None,
    derandomize="FANMAP_FRESH" not in os.environ,
    max_examples=200 if ALL else 20,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fanmap")


def pytest_configure(config: pytest.Config) -> None:
    gc.disable()  # until the tests are collected: ten thousand objects for ever, after syntax trees of 60,000 lines
    heed_signals()
    if ALL:
        remember_sockets()
    worker = getattr(config, "workerinput", None)
    if worker is not None:
        compile_share(config, int(worker["workerid"].removeprefix("gw")), worker["workercount"])


def compile_share(config: pytest.Config, place: int, workers: int) -> None:
    """A new clone's asserts are rewritten by all workers of xdist together, instead of by each of them."""
    # Pytest's own affair, which does it all the same, and says what cannot be compiled.
    with suppress(ImportError, AttributeError, KeyError, TypeError, SyntaxError, OSError):
        from _pytest.assertion import rewrite

        state = config.stash[rewrite.assertstate_key]
        for path in sorted(Path(__file__).parent.rglob("*.py"))[place::workers]:
            folder = rewrite.get_cache_dir(path)
            compiled = folder / (path.name[:-3] + rewrite.PYC_TAIL)
            if not sys.dont_write_bytecode and not compiled.exists() and rewrite.try_makedirs(folder):
                status, code = rewrite._rewrite_test(path, config)
                rewrite._write_pyc(state, code, status, compiled)


def heed_signals() -> None:
    """A shell that starts tests in the background has them ignore Ctrl-C, nohup has them ignore SIGHUP, and their
    children inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes long is left out until it is asked for; ids are the same in every process, or xdist refuses them."""
    odd = [item.nodeid for item in items if re.search("0x[0-9a-f]{6}", item.nodeid)]
    if odd:
        raise pytest.UsageError(f"ids must hold no addresses: {odd[0]}")
    asked_for = config.option.markexpr
    left_out = [name for name in ("nightly", "whole") if name not in asked_for and not (name == "whole" and ALL)]
    out = {item for item in items if any(map(item.get_closest_marker, left_out))}
    if out:
        config.hook.pytest_deselected(items=list(out))
        items[:] = [item for item in items if item not in out]


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """From here on what collects garbage looks at what came since."""
    gc.collect()
    gc.freeze()
    gc.enable()


# The last three openings under each file descriptor: the test, and the way to it.
OPENED: defaultdict[int, deque[tuple[str, traceback.StackSummary]]] = defaultdict(lambda: deque(maxlen=3))


def remember_sockets() -> None:
    """The collector finds a socket that nobody closed many tests later, and says so in the one that runs by then."""
    begin = socket.socket.__init__

    def begin_and_remember(self: socket.socket, *args: Any, **settings: Any) -> None:
        begin(self, *args, **settings)
        way = traceback.StackSummary.extract(traceback.walk_stack(sys._getframe(1)), limit=12, lookup_lines=False)
        OPENED[self.fileno()].append((os.environ.get("PYTEST_CURRENT_TEST", "no test"), way))

    socket.socket.__init__ = begin_and_remember


def sockets_named(error: BaseException | None) -> list[str]:
    """The numbers of those that a warning, or a group of them, complains of."""
    if isinstance(error, BaseExceptionGroup):
        return [number for one in error.exceptions for number in sockets_named(one)]
    return re.findall(r"<socket\.socket fd=(\d+)", str(error)) if isinstance(error, Warning) else []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    for number in dict.fromkeys(sockets_named(call.excinfo.value if call.excinfo else None)):
        for test, way in OPENED.get(int(number), ()):
            title = f"a socket of the number {number} was opened by"
            report.sections.append((title, "".join([test, "\n", *way.format()])))
    return report
