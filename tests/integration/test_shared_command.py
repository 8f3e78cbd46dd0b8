"""`fanmap shared`, as people call it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from array import array
from zlib import crc32

import pytest

from fanmap import Limits
from fanmap._drive.shared import copies
from fanmap._drive.shared.place import read_place
from fanmap._drive.shared.registry import open_store
from fanmap._policy.shared.document import REQUESTS
from fanmap._policy.shared.overview import MemberView, Overview, RateView
from fanmap._policy.shared.packing import VERSION
from fanmap._shared.table import table


def command(*words, **env):
    return subprocess.run(
        [sys.executable, "-m", "fanmap", "shared", *words],
        capture_output=True, text=True, timeout=600, env={**os.environ, **env},
    )  # fmt: skip


def test_the_table_says_who_does_what_and_what_holds_them():
    view = Overview(
        ceiling=4, maximum=8, in_flight=3, waiting=5, gate=1.26, outage=True, spent=61.2,
        members=(MemberView(0xA1, 3, 3, 4, 0.12), MemberView(0xB2, 0, 1, 1, 0.9)),
        rates=(RateView(REQUESTS, 60.0, 500.0, 0.34), RateView(7, 3600.0, 1.0, 0.0)),
        exchanges=9,
    )  # fmt: skip
    assert (
        table("openai", "/tmp/x", view)
        == """\
openai, in /tmp/x

processes  2
in flight  3 of 4 (at most 8)
waiting    5
gate       closed for 1.3 s
outage     one probe at a time
account    spent, as a process was told 61 s ago
rate       500 requests per 60 s, next start in 0.3 s
rate       1 a cost of its own per 3600 s, a start is free

process        in flight   slots   waiting      heard of
0000000000a1           3       3         4     0.1 s ago
0000000000b2           0       1         1     0.9 s ago
"""
    )


def test_a_long_table_is_cut():
    members = tuple(MemberView(number, 0, 1, 0, 0.0) for number in range(43))
    view = Overview(8, 8, 0, 0, 0.0, False, None, members, (), 1)
    assert table("a", "b", view).endswith("and 3 more\n")


@pytest.mark.whole
def test_a_name_that_is_used_and_one_that_is_not(tmp_path):
    path = str(tmp_path / "openai.fanmap")
    place = {"FANMAP_SHARED": str(tmp_path)}
    done = command("openai", **place)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"fanmap: no process uses 'openai' ({path})\n"
    assert not os.listdir(tmp_path)  # to look makes nothing
    account = Limits(4, rpm=600, shared=path)
    with account:
        wait_for_in_flight(path)
        for name in ("openai", path):
            done = command(name, **place)
            assert done.returncode == 0, done.stderr
            assert f"openai{'.fanmap' if name == path else ''}, in {path}" in done.stdout
            assert "in flight  1 of 4" in done.stdout
        assert command(**place).stdout == f"names are kept in {tmp_path}; in use: openai\n"
        done = command("openai", "--reset", **place)
        assert (done.returncode, done.stderr) == (0, f"fanmap: the state in {path} was cleared\n")
    # Whoever uses it goes on.
    with account:
        assert account.everybody.members == 1


def wait_for_in_flight(path):
    """Until what is kept there says that a call is under way, which it hears of after that has begun."""
    end = time.monotonic() + 120
    store = open_store(read_place(path))
    try:
        while (view := store.look()) is None or view.in_flight != 1:
            assert time.monotonic() < end, view
            time.sleep(0.01)
    finally:
        store.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a b"], "fanmap: shared must be a name of 1 to 64"),
        (["redis://user:secret@h/0"], "fanmap: shared must end in #NAME"),
        (["redis://user:secret@127.0.0.1:1/0#a"], "fanmap: redis://user:***@127.0.0.1:1/0#a could not be reached: "),
    ],
)
@pytest.mark.whole
def test_what_cannot_be_is_one_line(words, said):
    if said.startswith("fanmap: redis"):
        pytest.importorskip("redis")
    done = command(*words)
    assert done.returncode == (1 if "reached" in said else 2)
    assert done.stderr.startswith(said) and done.stderr.count("\n") == 1
    assert "secret" not in done.stderr


@pytest.mark.whole
def test_a_file_of_another_version_does_not_hide_the_other_names_and_can_be_cleared(tmp_path):
    place = {"FANMAP_SHARED": str(tmp_path)}
    with Limits(4, shared=str(tmp_path / "openai.fanmap")):
        wait_for_in_flight(str(tmp_path / "openai.fanmap"))
        head = (tmp_path / "openai.fanmap").read_bytes()[: copies.START]
        numbers = array("d", [VERSION + 1]).tobytes()
        (tmp_path / "other.fanmap").write_bytes(head + copies._HEAD.pack(1, 8, crc32(numbers, 1)) + numbers)
        (tmp_path / "other.fanmap").chmod(0o600)
        done = command(**place)
        assert done.stdout == f"names are kept in {tmp_path}; in use: openai\n", done.stderr
    done = command("other", **place)
    assert done.returncode == 1 and "another version of fanmap" in done.stderr and done.stderr.count("\n") == 1
    assert command("other", "--reset", **place).returncode == 0
    assert command("other", **place).stderr.startswith("fanmap: no process uses 'other'")


def test_names_on_a_server_are_not_listed():
    done = command(FANMAP_SHARED="redis://127.0.0.1:1/0")
    assert (done.returncode, done.stderr) == (2, "fanmap: FANMAP_SHARED names a server: give a NAME\n")


@pytest.mark.whole
def test_one_watches_until_interrupted(tmp_path):
    path = str(tmp_path / "openai")
    account = Limits(4, shared=path)
    with account:
        watching = subprocess.Popen(
            [sys.executable, "-m", "fanmap", "shared", path, "--watch"], stdout=subprocess.PIPE, text=True
        )
        heads = 0
        for line in watching.stdout:
            heads += line.startswith("openai, in")
            if heads == 2:
                watching.send_signal(2)
                break
        watching.communicate(timeout=600)
        assert watching.returncode == 0
