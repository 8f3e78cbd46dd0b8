"""What `shared=` and its environment mean, and what is refused before anything is opened."""

from __future__ import annotations

import os

import pytest

from fanmap._drive.shared import folder
from fanmap._drive.shared.folder import default_folder, kind_of
from fanmap._drive.shared.place import Place, lease, read_place, without_password


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in ("FANMAP_SHARED", "FANMAP_LEASE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def base(monkeypatch, tmp_path):
    monkeypatch.setattr(folder, "_BASE", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["openai", "a", "A.b_c-9", "x" * 64])
def test_a_name_is_a_file_in_a_folder_of_ours(base, name):
    place = read_place(name)
    assert place == Place(name, name)
    assert place.server() is None
    mine = base / f"fanmap-{os.geteuid()}"
    assert place.file() == mine / f"{name}.fanmap"
    assert mine.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "é", "a#b", "a:b", "a\n"])
def test_a_name_of_something_else_is_refused(name):
    with pytest.raises(
        ValueError, match=r"shared must be a name of 1 to 64 of A-Z a-z 0-9 \. _ -, a path or a URL, got"
    ):
        read_place(name)


@pytest.mark.parametrize("given", [3, True, b"openai", ["openai"]])
def test_what_is_no_text_is_refused(given):
    with pytest.raises(TypeError, match="shared must be a str or None, got"):
        read_place(given)


def test_a_path_is_that_file_whatever_the_folder_is_later(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = read_place("./openai")
    assert (place.name, place.path, place.server()) == ("openai", str(tmp_path / "openai"), None)
    assert place.file() == tmp_path / "openai"
    monkeypatch.setenv("FANMAP_SHARED", "redis://cache:6379/0")
    assert read_place("/data/openai").server() is None
    with pytest.raises(ValueError, match="shared must be the path of a file, got '/data/'"):
        read_place("/data/")
    with pytest.raises(ValueError, match="shared must be the path of a file, got"):
        read_place("/data/open\0ai")


@pytest.mark.parametrize(
    "url",
    ["redis://cache:6379/0", "rediss://cache/1", "unix:///run/redis.sock?db=2", "valkey://cache", "valkeys://cache"],
)
def test_a_url_with_a_name_is_a_server(url):
    place = read_place(f"{url}#openai")
    assert (place.name, place.server(), place.path) == ("openai", url, None)


@pytest.mark.parametrize("url", ["reids://cache/0#openai", "http://cache#openai", "file:///tmp/x#openai"])
def test_another_scheme_is_refused(url):
    with pytest.raises(ValueError, match=r"shared must be a name, a path or a URL of redis://, rediss://, unix://"):
        read_place(url)


@pytest.mark.parametrize("end", ["", "#", "#a b", "#" + "x" * 65])
def test_a_url_without_a_name_is_refused(end):
    with pytest.raises(ValueError, match="shared must end in #NAME"):
        read_place(f"redis://cache:6379/0{end}")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://cache:6379/0#a", "redis://cache:6379/0#a"),
        ("redis://:secret@cache:6379/0#a", "redis://:***@cache:6379/0#a"),
        ("redis://user:secret@cache/0#a", "redis://user:***@cache/0#a"),
        ("redis://user:se@cret@cache/0#a", "redis://user:***@cache/0#a"),
        ("redis://secret@cache/0#a", "redis://secret:***@cache/0#a"),
        ("unix:///x.sock?password=secret&db=1#a", "unix:///x.sock?password=***&db=1#a"),
        ("unix://user:secret@/x@y.sock#a", "unix://user:***@/x@y.sock#a"),
        ("unix:///x@y.sock#a", "unix:///x@y.sock#a"),
    ],
)
def test_no_text_shows_a_password(url, shown):
    assert without_password(url) == shown
    assert read_place(url).given == shown


@pytest.mark.parametrize("url", ["reids://u:secret@cache#a", "redis://u:secret@cache", "redis://u:secret@cache#a b"])
def test_no_error_shows_a_password(url):
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        read_place(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:sec/ret@cache:6379/0", "redis://u:12/sec@ret@cache", "redis://u:sec?ret@cache", "redis://u:[sec@cache",
        "redis://[::1/0", "redis://cache:port/0", "redis://cache:99999/0", "redis://cache:0/0", "redis://cache/zero",
        "redis://cache/1/2",
    ],
)  # fmt: skip
def test_a_url_that_redis_would_misread_is_refused_and_shows_no_piece_of_its_password(url, monkeypatch):
    monkeypatch.setenv("FANMAP_SHARED", url)
    for what, misuse in (("shared", lambda: read_place(f"{url}#openai")), ("FANMAP_SHARED", Place("a", "a").server)):
        with pytest.raises(ValueError, match=f"^{what} must be a ") as raised:
            misuse()
        assert "sec" not in str(raised.value) and "ret" not in str(raised.value)


@pytest.mark.parametrize("url", ["redis://u:sec#ret@cache/0#openai", "redis://cache/0?password=sec#ret#openai"])
def test_a_name_that_a_password_has_cut_off_shows_no_piece_of_it(url):
    with pytest.raises(ValueError, match="^shared must end in #NAME") as raised:
        read_place(url)
    assert "sec" not in str(raised.value) and "ret" not in str(raised.value)


def test_the_environment_names_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FANMAP_SHARED", str(tmp_path))
    place = read_place("openai")
    assert (place.server(), place.file()) == (None, tmp_path / "openai.fanmap")


def test_the_environment_names_a_server(monkeypatch):
    monkeypatch.setenv("FANMAP_SHARED", "redis://cache:6379/0")
    assert read_place("openai").server() == "redis://cache:6379/0"
    assert read_place("redis://other/1#openai").server() == "redis://other/1"


@pytest.mark.parametrize(
    "place", ["/no/such/folder", "openai", "redis://u:secret@cache/0#openai", "http://u:secret@cache"]
)
def test_anything_else_in_the_environment_is_an_error_and_no_silent_default(monkeypatch, place):
    monkeypatch.setenv("FANMAP_SHARED", place)
    with pytest.raises(
        ValueError, match=r"FANMAP_SHARED must be (a|an existing) folder or a URL like redis://"
    ) as raised:
        read_place("openai").server()
    assert "secret" not in str(raised.value)


def test_leases_are_long_where_death_is_seen(monkeypatch):
    assert (lease(server=False), lease(server=True)) == (30.0, 10.0)
    monkeypatch.setenv("FANMAP_LEASE", "1.5")
    assert (lease(server=False), lease(server=True)) == (1.5, 1.5)


@pytest.mark.parametrize("seconds", ["0.9", "-1", "nan", "inf", "soon", "86400"])
def test_a_lease_is_seconds(monkeypatch, seconds):
    monkeypatch.setenv("FANMAP_LEASE", seconds)
    with pytest.raises(ValueError, match="FANMAP_LEASE must be seconds, 1 to a day, got"):
        lease(server=True)


def test_a_folder_that_is_open_to_others_is_refused(base):
    mine = base / f"fanmap-{os.geteuid()}"
    mine.mkdir(mode=0o755)
    mine.chmod(0o755)
    with pytest.raises(PermissionError, match="must be a folder of this user that nobody else may open"):
        default_folder()
    mine.chmod(0o700)
    assert default_folder() == mine


def test_a_folder_that_is_a_link_or_a_file_is_refused(base, tmp_path):
    mine = base / f"fanmap-{os.geteuid()}"
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    mine.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError, match="must be a folder of this user"):
        default_folder()
    mine.unlink()
    mine.touch(mode=0o600)
    with pytest.raises(PermissionError, match="must be a folder of this user"):
        default_folder()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(base):
    mine = base / "fanmap-0"
    mine.mkdir(mode=0o700)
    os.chown(mine, 12345, 12345)
    with pytest.raises(PermissionError, match="remove it, or set FANMAP_SHARED to a folder of yours"):
        default_folder()


def test_a_system_without_such_folders_says_what_to_write(monkeypatch):
    monkeypatch.delattr(os, "geteuid")
    with pytest.raises(OSError, match='write shared="redis://HOST:6379/0#NAME" instead'):
        default_folder()


MOUNTS = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard
30 27 0:30 / /home rw - nfs4 server:/home rw
31 30 0:31 / /home/me/work rw - btrfs /dev/b rw
32 27 0:32 / /mnt/a\040b rw - fuse.sshfs me@there: rw
33 27 0:33 / /over rw - ext4 /dev/c rw
34 27 0:34 / /over rw - cifs //there/x rw
broken
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/tmp/x", "ext4"),
        ("/home", "nfs4"),
        ("/home/me", "nfs4"),
        ("/home/me/work/x", "btrfs"),
        ("/home/me/workshop", "nfs4"),
        ("/mnt/a b/c", "fuse.sshfs"),
        ("/over/x", "cifs"),
    ],
)
def test_the_kind_of_a_file_system_is_that_of_the_last_mount_over_it(path, kind):
    assert kind_of(MOUNTS, path) == kind
