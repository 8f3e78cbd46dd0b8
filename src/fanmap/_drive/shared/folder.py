"""Where a file of shared limits may lie: in a folder that is ours alone, on a disk of this machine.

Whoever can write the file decides what everybody may start, so it belongs to this user, nobody else may open it, and
it is no link. On a network's file system locks and clocks are not to be trusted.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_OF_NETWORKS = (
    "nfs",
    "cifs",
    "smb",
    "9p",
    "ceph",
    "glusterfs",
    "lustre",
    "afs",
    "fuse.",
    "ocfs2",
    "gfs2",
    "gpfs",
    "beegfs",
)
_BASE = Path("/tmp")
_CURE = 'write shared="redis://HOST:6379/0#NAME" instead'


def default_folder() -> Path:
    """The folder for names without a place; made, if need be.

    Not where XDG_RUNTIME_DIR or TMPDIR say: cron, systemd, sudo and Slurm each see others.

    Raises:
        OSError: it is somebody else's, a link, or open to others; or this system has no such folders.
    """
    if not hasattr(os, "geteuid"):
        raise OSError(f"a shared name without a server needs the locks of Linux or macOS: {_CURE}")
    folder = _BASE / f"fanmap-{os.geteuid()}"
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise PermissionError(
            f"{folder} must be a folder of this user that nobody else may open (mode 0700): "
            "remove it, or set FANMAP_SHARED to a folder of yours"
        )
    return folder


def open_file(path: Path) -> int:
    """Open a file of shared limits, made if need be; a descriptor that no child gets.

    Raises:
        FileNotFoundError: there is no such folder.
        OSError: it may not be used; the message says why and what to do.
    """
    kind = file_system(path.parent)
    if kind.startswith(_OF_NETWORKS):
        raise OSError(f"{path} is on a network file system ({kind}), whose locks other machines do not see: {_CURE}")
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        file = os.open(path, flags, 0o600)
    except FileNotFoundError:
        from fanmap._hints import values  # only where something is wrong

        raise FileNotFoundError(f"the folder of shared={str(path)!r} does not exist{values.home(path)}") from None
    except OSError as error:
        if path.is_symlink():
            raise PermissionError(f"{path} must be a file and not a link") from None
        raise OSError(error.errno, f"shared={str(path)!r} cannot be opened: {error.strerror}") from None
    found = os.fstat(file)
    wrong = None
    if not stat.S_ISREG(found.st_mode):
        wrong = "must be a file"
    elif found.st_nlink > 1:
        wrong = "must be a file and not a link"
    elif found.st_uid != os.geteuid():
        wrong = "belongs to another user"
    elif stat.S_IMODE(found.st_mode) & 0o077:
        wrong = "may be opened by others: its mode must be 0600"
    if wrong is not None:
        os.close(file)
        raise PermissionError(f"{path} {wrong}")
    return file


def file_system(folder: Path) -> str:
    """The kind of the file system that this folder is on; "" where the system does not say."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text()
    except OSError:
        return ""
    return kind_of(mounts, os.path.realpath(folder))


def kind_of(mounts: str, folder: str) -> str:
    """The kind of the last mount over this folder, as /proc/self/mountinfo lists them."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        front, _, back = line.partition(" - ")
        fields = front.split()
        if len(fields) < 5 or not back:
            continue
        point = fields[4].encode().decode("unicode_escape").rstrip("/")  # a space is \040
        if (folder == point or folder.startswith(f"{point}/")) and len(point) >= best:
            best, kind = len(point), back.split()[0]
    return kind
