"""Labs without root: in a user namespace that a process of the user's holds, with network, mounts and processes.

    python -m lab.kernel.rootless READY-DESCRIPTOR

That process is the first of its process namespace, has a /run of its own, and waits. Commands enter its namespaces, in
which the user counts as root. It ends when no lab is left in it.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from lab.errors import MachineError
from lab.kernel import daemons, netns

_CLONE_NEWUSER, _CLONE_NEWPID = 0x10000000, 0x20000000
_CLONE_NEWNET, _CLONE_NEWNS = 0x40000000, 0x00020000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
#: In this order: the first gives the right to enter the others.
_NAMESPACES = ("user", "net", "mnt", "pid")
_READY_S = 10.0
_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _folder() -> Path:
    """Return the user's own folder for what must outlive a command."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(runtime, "lab") if runtime and os.access(runtime, os.W_OK) else Path(f"/tmp/lab-{os.getuid()}")  # noqa: S108 - checked below
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or folder.is_symlink():
        raise MachineError(
            f"{folder}: belongs to another user, or is open to others; it must be yours alone; "
            "remove it, or set XDG_RUNTIME_DIR to a folder of yours"
        )
    return folder


@contextlib.contextmanager
def _locked() -> Iterator[Path]:
    """Hold the lock of the user's folder; yield the file that names the holder."""
    folder = _folder()
    descriptor = os.open(folder / "holder.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield folder / "holder.json"
    finally:
        os.close(descriptor)


def enter() -> None:
    """Go on in the user's namespaces, in a child process; this one ends as that does.

    Raises:
        MachineError: the kernel lets this user make no such namespaces.

    """
    with _locked() as file:
        holder = _noted(file)
        if holder is None:
            holder = _begin()
            file.write_bytes(msgspec.json.encode(holder))
        descriptors = [os.open(f"/proc/{holder.pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in _NAMESPACES]
        child = os.fork()
    if child == 0:
        here = Path.cwd()
        for descriptor in descriptors:
            _call("setns", descriptor, 0)
        inner = os.fork()  # a process namespace is that of children
        if inner:
            _end_as(inner)
        os.chdir(here)
        return
    for descriptor in descriptors:
        os.close(descriptor)
    _end_as(child, holder)


def _noted(file: Path) -> daemons.Process | None:
    """Return the process that holds the namespaces, None if there is none."""
    try:
        holder = msgspec.json.decode(file.read_bytes(), type=daemons.Process)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return holder if daemons.alive(holder) else None


def _begin() -> daemons.Process:
    """Start the process that holds the namespaces."""
    ready, far = os.pipe()
    starter = os.fork()
    if starter == 0:
        _start(far)
    os.close(far)
    with os.fdopen(ready) as said:
        number, words = said.readline(), said.readline()
    os.waitpid(starter, 0)
    holder = daemons.identify(int(number)) if words == "ready\n" else None
    if holder is None:
        found = (words or number).strip().removeprefix("refused ") or "it ended at once"
        raise MachineError(
            f"user namespace: {found}; this user must be let make user, network, mount and process namespaces; "
            "see user.max_user_namespaces, kernel.unprivileged_userns_clone and "
            "kernel.apparmor_restrict_unprivileged_userns (sysctl), or run it with sudo"
        )
    return holder


def _start(far: int) -> None:
    """Make the namespaces, and the first process in them. Runs in a child."""
    status = 1
    try:
        uid, gid = os.getuid(), os.getgid()
        os.setsid()
        _call("unshare", _CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWNS | _CLONE_NEWPID)
        _map(uid, gid)
        waits, go = os.pipe()
        first = os.fork()
        if first == 0:
            os.read(waits, 1)
            nothing = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(nothing, descriptor)
            os.set_inheritable(far, True)
            # Only what was executed anew lets others of its user enter its namespaces.
            os.execv(sys.executable, [sys.executable, "-P", "-m", "lab.kernel.rootless", str(far)])  # noqa: S606
        os.write(far, f"{first}\n".encode())  # the number that it has outside, which it cannot see itself
        os.write(go, b"x")
        status = 0
    except OSError as error:
        os.write(far, f"refused {error.strerror or error}\n".encode())
    finally:
        os._exit(status)


def _map(uid: int, gid: int) -> None:
    """Let a user and a group be root's in the user namespace that this process has just made."""
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        Path(f"/proc/self/{name}").write_text(text)


def _end_as(child: int, holder: daemons.Process | None = None) -> None:
    """Wait for a child and end as it does; interrupts are its own matter, as it has the same terminal."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    _, status = os.waitpid(child, 0)
    if holder is not None:
        _end_unused(holder)
    os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))


def _end_unused(holder: daemons.Process) -> None:
    """End the process that holds the namespaces if no lab is left in them."""
    with _locked() as file:
        labs = Path(f"/proc/{holder.pid}/root/run/lab")
        with contextlib.suppress(OSError):
            if daemons.alive(holder) and not any(path.is_dir() for path in labs.glob("*")):
                os.kill(holder.pid, signal.SIGKILL)  # the first of a process namespace takes all others with it
                file.unlink(missing_ok=True)


def limits() -> dict[str, str]:
    """Return what this user namespace denies that root of a machine may, and what lacks it; nothing outside of one."""
    denied = {}
    if Path("/proc/self/setgroups").read_text().strip() == "deny":
        denied["setgroups"] = "sshd past its first words: an ssh service logs its peer, and closes the connection"
    return denied


def refused() -> str:
    """Say why this user may make no namespaces, "" if they may."""
    try:
        netns.in_child(_try)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _try() -> None:
    """Make such namespaces, and the mounts that a lab begins with. Runs in a child."""
    uid, gid = os.getuid(), os.getgid()
    _call("unshare", _CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWNS)
    _map(uid, gid)
    _call("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
    _call("mount", b"tmpfs", b"/run", b"tmpfs", 0, None)


def main() -> None:
    """Mount what the namespaces need, say so, and wait; what has lost its parent ends here."""
    ready = int(sys.argv[1])
    try:
        _call("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
        _call("mount", b"proc", b"/proc", b"proc", 0, None)
        _call("mount", b"tmpfs", b"/run", b"tmpfs", 0, b"mode=0755")
        netns.prepare()
    except OSError as error:
        os.write(ready, f"refused {error.strerror or error}\n".encode())
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    os.write(ready, b"ready\n")
    os.close(ready)
    while True:
        try:
            os.waitpid(-1, 0)
        except OSError as error:
            if error.errno != errno.ECHILD:
                raise
            signal.sigwait({signal.SIGCHLD})


if __name__ == "__main__":
    main()
