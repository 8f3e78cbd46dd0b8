"""A file as the store: who may open it, what survives a kill, who is seen to be dead, and what it makes of sabotage."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from multiprocessing import util
from pathlib import Path

import pytest

from fanmap import Limits, SharedUnavailable
from fanmap._drive.shared import copies, folder, kernel
from fanmap._drive.shared import file as file_module
from fanmap._drive.shared.file import FileStore
from fanmap._drive.shared.store import StoreAway
from fanmap._policy.limits.adaptive import Adaptive
from fanmap._policy.shared.demand import Demand
from fanmap._policy.shared.member import Member
from fanmap._policy.shared.wanted import wanted

pytestmark = pytest.mark.skipif(not kernel.SEES_DEATH, reason="the locks of Linux")
LONG = 60.0  # a lease that no test waits for


class Peer:
    """One process's store and member, in this process."""

    def __init__(self, path, slots=4, number=None):
        self.number = random.getrandbits(48) if number is None else number
        self.store = FileStore(Path(path), self.number)
        self.member = Member(self.number, wanted(Adaptive(slots, 1, slots), []), LONG, self.store.wake)

    def ask(self, want=0, use=0, **more):
        request = self.member.compose(time.monotonic(), Demand(use, (want, 0)), random.getrandbits(48), **more)
        reply = self.store.exchange(request)
        self.member.take(reply, time.monotonic())
        return reply

    def close(self):
        self.store.close()


@pytest.fixture
def peers(tmp_path):
    made = []

    def make(name="openai", **more):
        made.append(Peer(tmp_path / name, **more))
        return made[-1]

    yield make
    for peer in made:
        peer.close()


def test_two_processes_share_what_is_in_the_file(peers):
    one, other = peers(), peers()
    assert one.ask(3).allow == 3
    reply = other.ask(3)
    assert (reply.allow, reply.members, reply.elsewhere) == (1, 2, 3)
    assert one.ask(3, use=3).memory == reply.memory
    view = other.store.look()
    assert (view.ceiling, view.maximum, view.in_flight, len(view.members)) == (4, 4, 3, 2)


def test_the_file_is_ours_alone(peers, tmp_path):
    os.umask(os.umask(0))
    peers().ask(1)
    mode = (tmp_path / "openai").stat().st_mode
    assert mode & 0o777 == 0o600


def test_an_empty_file_is_taken(peers, tmp_path):
    (tmp_path / "openai").touch(mode=0o600)
    assert peers().ask(1).allow == 1


def test_a_file_with_other_content_is_left_as_it_is(peers, tmp_path):
    path = tmp_path / "openai"
    path.write_text("my own notes, and they are longer than sixteen bytes")
    path.chmod(0o600)
    with pytest.raises(ValueError, match="is not a file of shared limits: it is left as it is"):
        peers().ask(1)
    assert path.read_text().startswith("my own notes")
    assert peers().store.look() is None


def test_a_folder_that_is_not_there_is_not_made(peers, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"the folder of shared='.*/no/openai' does not exist"):
        peers("no/openai").ask(1)
    assert not (tmp_path / "no").exists()
    with pytest.raises(FileNotFoundError, match=r"does not exist: write os\.path\.expanduser\(path\)$"):
        peers("~/openai").ask(1)


def test_a_file_that_cannot_be_opened_is_named_with_its_parameter(peers, tmp_path):
    (tmp_path / "openai").mkdir()
    with pytest.raises(IsADirectoryError, match=r"shared='.*/openai' cannot be opened: Is a directory"):
        peers().ask(1)


def link(path):
    path.with_name("target").touch(mode=0o600)
    path.symlink_to(path.with_name("target"))


def hard_link(path):
    path.with_name("target").touch(mode=0o600)
    path.hardlink_to(path.with_name("target"))


def open_to_others(path):
    path.touch()
    path.chmod(0o640)


def fifo(path):
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (link, "must be a file and not a link"),
        (hard_link, "must be a file and not a link"),
        (open_to_others, "may be opened by others: its mode must be 0600"),
        (fifo, "must be a file"),
        pytest.param(
            lambda path: (path.touch(mode=0o600), os.chown(path, 12345, -1)),
            "belongs to another user",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away"),
        ),
    ],
)
def test_what_is_not_ours_alone_is_refused(peers, tmp_path, make, said):
    make(tmp_path / "openai")
    with pytest.raises(PermissionError, match=said):
        peers().ask(1)


def test_a_folder_in_the_place_of_the_file_is_refused(peers, tmp_path):
    (tmp_path / "openai").mkdir()
    with pytest.raises((OSError, StoreAway)):
        peers().ask(1)


def test_a_network_s_file_system_is_refused_with_the_cure(peers, monkeypatch):
    monkeypatch.setattr(folder, "file_system", lambda path: "nfs4")
    with pytest.raises(OSError, match=r"on a network file system \(nfs4\).*write shared=\"redis://HOST:6379/0#NAME\""):
        peers().ask(1)


def test_a_full_disk_is_a_store_that_is_away_for_a_new_file_only(peers, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    one = peers()
    one.ask(1)
    monkeypatch.setattr(os, "posix_fallocate", full)
    assert one.ask(2).allow == 2
    assert peers().ask(2).allow == 2  # a new member of an old file
    with pytest.raises(StoreAway, match="No space left on device"):
        peers("new").ask(1)


# Sabotage


def test_a_file_that_was_deleted_is_a_memory_that_was_lost(peers, tmp_path):
    one, other = peers(), peers()
    one.ask(3)
    other.ask(1)
    (tmp_path / "openai").unlink()
    reply = one.ask(3, use=2)
    assert reply.memory != other.member.memory
    assert (reply.allow, reply.members) == (3, 1)
    assert other.ask(3, use=1).memory == reply.memory
    assert one.ask(3, use=3).members == 2


@pytest.mark.parametrize("size", [0, 10, 64, 5_000, copies.SIZE - 1])
def test_a_file_that_was_cut_short_is_a_memory_that_was_lost(peers, tmp_path, size):
    one = peers()
    memory = one.ask(3).memory
    one.ask(3, use=3)
    os.truncate(tmp_path / "openai", size)
    reply = one.ask(3, use=3)
    assert (reply.memory != memory, reply.allow, reply.members) == (True, 3, 1)
    assert one.ask(3, use=3).memory == reply.memory


def test_a_file_that_was_replaced_by_another_one_of_ours_is_taken(peers, tmp_path):
    one, other = peers(), peers("other")
    one.ask(3)
    memory = other.ask(1).memory
    os.replace(tmp_path / "other", tmp_path / "openai")
    assert one.ask(3, use=3).memory == memory


@pytest.mark.parametrize("first", ["who_had", "who_has"])
def test_an_older_copy_of_the_file_is_a_memory_that_was_lost(peers, tmp_path, first):
    who_had, who_has = peers(), peers()
    assert who_had.ask(4).allow == 4
    (tmp_path / "copy").write_bytes((tmp_path / "openai").read_bytes())
    (tmp_path / "copy").chmod(0o600)
    who_has.ask(4)
    for _ in range(3):
        who_had.ask()  # gives them back
    assert who_has.ask(4).allow == 4
    os.replace(tmp_path / "copy", tmp_path / "openai")
    if first == "who_has":
        assert who_has.ask(4, use=4).allow == 4
    assert who_had.ask(4).allow == 0  # not the four of then
    assert who_has.ask(4, use=4).allow == 4


def test_a_file_that_was_replaced_by_something_else_is_a_store_that_is_away(peers, tmp_path):
    one = peers()
    one.ask(3)
    (tmp_path / "note").write_text("something else, and longer than sixteen bytes")
    (tmp_path / "note").chmod(0o600)
    os.replace(tmp_path / "note", tmp_path / "openai")
    with pytest.raises(StoreAway, match="is not a file of shared limits"):
        one.ask(3)
    assert (tmp_path / "openai").read_text().startswith("something else")
    (tmp_path / "openai").unlink()
    assert one.ask(3).allow == 3  # and back again


def test_a_file_that_was_replaced_by_a_link_is_a_store_that_is_away(peers, tmp_path):
    one = peers()
    one.ask(3)
    os.rename(tmp_path / "openai", tmp_path / "elsewhere")
    (tmp_path / "openai").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreAway, match="must be a file and not a link"):
        one.ask(3)


def torn(path, place):
    with path.open("r+b") as file:
        file.seek(place + 40)
        file.write(b"torn")


def test_a_copy_that_was_torn_leaves_the_other_one(peers, tmp_path):
    one = peers()
    for want in (1, 2, 3):
        memory = one.ask(want).memory
    newest = copies._PLACES[1]  # the third
    torn(tmp_path / "openai", newest)
    other = peers()
    reply = other.ask(1)
    assert (reply.memory, reply.members) == (memory, 2)
    assert other.store.look().members[0].allow == 2  # as it was before
    assert one.ask(3, use=3).allow == 3


def test_two_torn_copies_are_a_memory_that_was_lost(peers, tmp_path):
    one = peers()
    memory = one.ask(3).memory
    one.ask(3)
    for place in copies._PLACES:
        torn(tmp_path / "openai", place)
    one.store._let_go()
    reply = one.ask(3, use=2)
    assert (reply.memory != memory, reply.allow) == (True, 3)


def test_a_document_of_another_version_is_no_document(peers, monkeypatch):
    peers().ask(1)
    monkeypatch.setattr(copies, "unpack", lambda numbers: (_ for _ in ()).throw(ValueError("another version")))
    with pytest.raises(ValueError, match="was written by another version of fanmap: use another name"):
        peers().ask(1)


@pytest.mark.parametrize("make", ["a folder", "a link", "a pipe", "a document of another version"])
def test_who_looks_at_what_is_none_of_ours_is_told_that_it_cannot_be_read(peers, tmp_path, monkeypatch, make):
    path = tmp_path / "openai"
    if make == "a folder":
        path.mkdir()
    elif make == "a link":
        path.symlink_to(tmp_path / "elsewhere")
    elif make == "a pipe":
        os.mkfifo(path)  # with nobody at its other end
    else:
        peers().ask(1)
        monkeypatch.setattr(copies, "unpack", lambda numbers: (_ for _ in ()).throw(ValueError("another version")))
    with pytest.raises(StoreAway):
        peers().store.look()
    with pytest.raises(SharedUnavailable, match=f"^{path} could not be read: "):
        print(Limits(4, shared=str(path)).everybody)


def test_more_processes_than_there_is_room_for_are_told_so(peers, monkeypatch):
    one = peers()
    one.ask(1)
    monkeypatch.setattr(copies, "_ROOM", 100)
    with pytest.raises(
        StoreAway, match="too many processes use this name: write shared='redis://HOST:6379/0#NAME' instead"
    ):
        one.ask(1)


def test_another_machine_s_file_is_taken_over_when_nobody_lives_there(peers, monkeypatch):
    one = peers()
    memory = one.ask(1).memory
    one.close()
    monkeypatch.setattr(file_module, "_machine", lambda: 77)
    reply = peers().ask(1)
    assert (reply.memory, reply.members) == (memory, 1)


def test_a_file_that_another_machine_uses_is_refused(peers, monkeypatch):
    one = peers()
    one.ask(1)
    with monkeypatch.context() as patch:
        patch.setattr(file_module, "_machine", lambda: 77)
        with pytest.raises(OSError, match="is in use by another machine: write shared='redis://HOST:6379/0#NAME'"):
            peers().ask(1)
    assert one.ask(1).allow == 1
    # Where its locks are not seen: it comes, takes over, and whoever was there finds its name in the file.
    with monkeypatch.context() as patch:
        patch.setattr(file_module, "_machine", lambda: 77)
        patch.setattr(kernel, "is_claimed", lambda file, place: False)
        peers().ask(1)
    with pytest.raises(StoreAway, match="is in use by another machine"):
        one.ask(1)


# Death, forks, stopped processes


def test_whoever_lets_go_of_its_file_is_seen_to_be_dead(peers):
    one, other = peers(), peers()
    one.ask(4)
    assert other.ask(4).allow == 0
    one.store._let_go()
    assert other.ask(4).allow == 4


def test_a_killed_process_is_seen_by_the_next_exchange_and_a_stopped_one_is_not(peers, tmp_path):
    with worker(tmp_path, slots=4, callers=4, lease=LONG, seconds=[LONG, LONG]) as other:
        one = peers()
        wait_for(lambda: one.ask(0).elsewhere == 4)
        os.kill(other.pid, signal.SIGSTOP)
        wait_for(lambda: Path(f"/proc/{other.pid}/stat").read_text().split()[2] == "T")
        assert one.ask(4).members == 2
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        assert (one.ask(4).allow, one.store.look().members[0].id) == (4, one.number)


def test_a_child_keeps_nothing_of_its_parent_alive(peers, tmp_path):
    """A fork has the parent's files: what it holds would look alive for as long as the child lives."""
    code = """
import os, sys
sys.path[:0] = [sys.argv[2]]
from test_shared_file import Peer
peer = Peer(sys.argv[1])
peer.ask(4)
if os.fork() == 0:
    peer.close()
    os.write(1, b"c")
    sys.stdin.read()
else:
    os.write(1, b"p")
    os.kill(os.getpid(), 9)
"""
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "openai"), str(Path(__file__).parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert sorted(child.stdout.read(1) + child.stdout.read(1)) == sorted(b"cp")
    assert child.wait() == -signal.SIGKILL
    assert peers().ask(4).allow == 4
    child.stdin.close()
    child.stdout.close()


def test_a_child_that_closes_what_it_got_does_not_unlock_its_parent_s_file(peers, tmp_path):
    one = peers()
    one.ask(1)
    assert kernel.try_lock(one.store._file)
    pid = os.fork()
    if pid == 0:
        try:
            one.store.close()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    other = os.open(tmp_path / "openai", os.O_RDWR)
    assert not kernel.try_lock(other)
    kernel.unlock(one.store._file)
    assert kernel.try_lock(other)
    os.close(other)


def test_a_process_that_stands_still_with_the_lock_is_named(peers, tmp_path, monkeypatch):
    monkeypatch.setattr(file_module, "_PATIENCE", 0.05)
    one = peers()
    one.ask(1)
    stopped = os.open(tmp_path / "openai", os.O_RDWR)
    assert kernel.try_lock(stopped)
    with pytest.raises(StoreAway, match=rf"process {os.getpid()} has had .* locked for .* s: is it stopped\?"):
        one.ask(1)
    os.close(stopped)
    assert one.ask(1).allow == 1


def test_a_subprocess_inherits_nothing(peers):
    one = peers()
    one.ask(1)
    assert not os.get_inheritable(one.store._file)
    assert not one.store._socket.get_inheritable()


# Waking


def test_whoever_waits_is_woken_by_another_process_and_by_a_thread_of_its_own(peers):
    one, other = peers(), peers()
    one.ask(4)
    other.ask(4)  # wakes whoever holds more than its part
    one.store.wait(60.0)
    waiter = threading.Thread(target=one.store.wait, args=(60.0,))
    waiter.start()
    one.store.poke()
    waiter.join(120)
    assert not waiter.is_alive()
    one.store.poke()
    one.store.poke()
    one.store.wait(60.0)
    began = time.monotonic()
    one.store.wait(0.05)  # all of them are one
    assert time.monotonic() - began >= 0.04


def test_a_wake_to_nobody_is_nothing(peers):
    one = peers()
    one.store._send(1)
    one.store._send(one.store.wake)
    one.close()
    one.store._send(one.store.wake)
    one.store._socket = peers().store._socket


def test_after_a_reset_those_who_live_go_on_with_what_they_know(peers):
    one, other = peers(), peers()
    one.ask(3)
    other.store.reset()
    assert other.store.look() is None
    assert one.ask(3, use=3).allow == 3
    other.store.reset()
    other.store.reset()


# Many processes


class Running:
    """A worker process and its log."""

    def __init__(self, path, log, **options):
        self.log = log
        self.process = subprocess.Popen(
            [
                sys.executable,
                str(Path(__file__).with_name("shared_worker.py")),
                str(path),
                json.dumps(options),
                str(log),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.process.stdin.close()
        self.process.stdout.close()

    def order(self, **order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def wait(self):
        self.process.wait()

    def events(self):
        """(time, +1 or -1) of each start and end; one that was killed ends all of its calls at once."""
        lines = self.log.read_text().splitlines(keepends=True) if self.log.exists() else []
        return [(float(at), int(sign)) for at, sign in (line.split() for line in lines if line.endswith("\n"))]

    def started(self):
        return sum(sign > 0 for _, sign in self.events())


def worker(tmp_path, **options):
    return Running(tmp_path / "openai", tmp_path / f"log{random.random()}", **options)


def wait_for(condition, seconds=120.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.01)


def most_at_once(workers):
    held = most = 0
    for _, sign in sorted(event for one in workers for event in one.events()):
        held += sign
        most = max(most, held)
    return most


@pytest.mark.whole
def test_processes_never_use_more_than_there_are_and_each_has_its_turn(tmp_path):
    workers = [worker(tmp_path, slots=3, callers=3, seconds=[0.01, 0.05], lease=LONG) for _ in range(5)]
    try:
        wait_for(lambda: min(one.started() for one in workers) >= 10 and most_at_once(workers) >= 3)
        assert most_at_once(workers) == 3
    finally:
        for one in workers:
            one.__exit__()


@pytest.mark.whole
def test_killed_processes_lose_no_slot(tmp_path):
    """With a lease that nobody waits for: the kernel says who is dead."""
    chance = random.Random(5)
    workers = [worker(tmp_path, slots=4, callers=4, seconds=[0.01, 0.1], lease=LONG) for _ in range(3)]
    try:
        for _ in range(6):
            wait_for(lambda: all(one.started() for one in workers))
            victim = workers.pop(chance.randrange(3))
            victim.__exit__()
            workers.append(worker(tmp_path, slots=4, callers=4, seconds=[0.01, 0.1], lease=LONG))
        for one in workers[1:]:
            one.__exit__()
        survivor = workers[0]
        survivor.order(callers=8)
        seen = survivor.started()
        wait_for(lambda: survivor.started() > seen + 20 and most_at_once([survivor]) >= 4)
        assert most_at_once([survivor]) == 4
    finally:
        for one in workers:
            one.__exit__()


def call_in_a_thread(place, inside, finalized, go_on):
    """A child that ends while a thread of its own still calls."""
    account = Limits(1, shared=place)

    def call():
        with account:
            inside.set()
            go_on.wait()

    with account:
        pass
    util.Finalize(None, finalized.set, exitpriority=-10_000)  # after fanmap's
    threading.Thread(target=call).start()
    inside.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="it waits for its threads before it does what is left to do")
def test_a_child_of_multiprocessing_whose_threads_still_call_does_not_leave(tmp_path):
    place, context = str(tmp_path / "openai"), multiprocessing.get_context("fork")
    inside, finalized, go_on = context.Event(), context.Event(), context.Event()
    child = context.Process(target=call_in_a_thread, args=(place, inside, finalized, go_on))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads, which do not survive a fork
        child.start()
    assert finalized.wait(600)
    members = Limits(1, shared=place).everybody.members
    go_on.set()
    child.join(600)
    assert (members, child.exitcode) == (1, 0)
