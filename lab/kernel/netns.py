"""Network namespaces: make, enter, list and remove them; run a function inside one.

A namespace is entered only in a child process or by one that ends soon, so that no caller has to
find the way back. Names are hard links of one empty file with a namespace mounted over each:
where /run is on a disk, making a file costs far more than linking one.
"""

import contextlib
import ctypes
import errno
import os
import pickle
import re
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Generic, ParamSpec, Self, TypeVar

from lab.errors import KernelError, LabError, MachineError

RUN = Path("/run/netns")

_CLONE_NEWNET = 0x40000000
_CLONE_NEWNS = 0x00020000
_CLONE_NEWUTS = 0x04000000
_MS_BIND, _MS_REC, _MS_PRIVATE, _MS_SLAVE = 0x1000, 0x4000, 0x40000, 0x80000
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_PR_SET_PDEATHSIG = 1
#: How many open files are asked for, and how many a process of ours has beside those of namespaces and servers.
_FILES, _OTHER_FILES = 65536, 64

_libc = ctypes.CDLL(None, use_errno=True)
_P = ParamSpec("_P")
_T = TypeVar("_T")


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def path(namespace: str) -> Path:
    """Return where a namespace has its name."""
    return RUN / namespace


def prepare() -> None:
    """Make the folder of names, and allow this process as many open files as root may have."""
    make_folder(RUN, 0o755)
    _allow_files()


def make_folder(folder: Path, mode: int) -> None:
    """Make a folder with this mode, whatever the umask is; one that is there stays as it is."""
    folder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=mode)
        folder.chmod(mode)


def need_files(count: int, what: str) -> None:
    """Refuse unless this process, and those that it starts, may have so many open files.

    Raises:
        MachineError: they may not.

    """
    limit, wanted = _allow_files(), count + _OTHER_FILES
    if limit < wanted:
        raise MachineError(
            f"open files: {limit:,} are allowed, and {what} needs {wanted:,}; nothing was made; "
            f"raise the limit, such as with `ulimit -n {wanted}`, and run it again"
        )


def _allow_files() -> int:
    """Allow this process as many open files as it may have; return how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (max(hard, _FILES), hard):
        # A process without CAP_SYS_RESOURCE cannot raise what it was given.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            return limit
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def make(namespace: str) -> int:
    """Make a namespace, enter it, and return a descriptor of it.

    IPv6 is switched off before any interface is up: the documents speak of IPv4 only, and a
    second family would be a way around every rule.
    """
    _call("unshare", _CLONE_NEWNET)
    name, seed = path(namespace), _seed()
    try:
        os.link(seed, name)
    except FileNotFoundError:
        os.close(os.open(seed, os.O_CREAT | os.O_RDONLY, 0))
        os.link(seed, name)
    _call("mount", b"/proc/thread-self/ns/net", os.fsencode(name), b"none", _MS_BIND, None)
    write_sysctl("net.ipv6.conf.all.disable_ipv6", 1)  # the kernel writes conf.default, and lo's, with it
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def leave_machine() -> None:
    """Move this process into a new namespace without a name, which ends with it."""
    _call("unshare", _CLONE_NEWNET)


def remove(*namespaces: str) -> None:
    """Take the names of namespaces away; each ends with its last process. What has no name is fine.

    Raises:
        KernelError: a name stays.

    """
    busy = [namespace for namespace in namespaces if not _unmount(namespace)]
    # A program that mounts a folder over the names, as the first `ip netns add` does with the folder itself, leaves the
    # mounts below in place: their names are busy, or can no longer be seen.
    if stuck := {*busy, *_mounted().intersection(namespaces)}:
        in_child(_uncover, sorted(stuck))
        if left := sorted({name for name in stuck if os.path.lexists(path(name))} | _mounted().intersection(stuck)):
            raise KernelError(
                f"{path(left[0])}: stays mounted, with {len(left) - 1} more; it must go with its lab; "
                f"`findmnt {path(left[0])}` and `findmnt {RUN}` tell what covers it: unmount that, then do this again"
            )


def _unmount(namespace: str) -> bool:
    """Take one name away; return False if a mount that cannot be reached holds it."""
    if _libc.umount2(os.fsencode(path(namespace)), _MNT_DETACH) != 0:
        number = ctypes.get_errno()
        if number not in (errno.EINVAL, errno.ENOENT):
            raise KernelError(f"{path(namespace)}: umount: {os.strerror(number)}; a lab's name must go with it")
    try:
        path(namespace).unlink(missing_ok=True)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


def _mounted() -> set[str]:
    """Return the names that this process's mount namespace has namespaces mounted at, covered or not."""
    return {point.name for point in _mount_points()}


def _mount_points() -> list[Path]:
    """Return where namespaces are mounted (proc_pid_mountinfo(5), fields 5 and, after the dash, the type)."""
    lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    return [Path(_decoded(line.split(" ")[4])) for line in lines if " - nsfs " in line]


def _decoded(text: str) -> str:
    """Return a path of mountinfo, where blank, tab, newline and backslash are octal."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _uncover(names: list[str]) -> None:
    """Remove names whose mounts cannot be reached. Runs in a child.

    A file that is a mount point in the mount namespace of the process that removes it is busy; one that is a mount
    point in others only is removed, and those mounts with it. So this process takes a mount namespace of its own, in
    which it detaches all that lies over the names, and the names: no other process sees any of that.
    """
    _call("unshare", _CLONE_NEWNS)
    _call("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
    layers: list[int] = []

    def look() -> None:
        with contextlib.suppress(OSError):
            layers.append(os.open(RUN, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))

    def detach(point: Path) -> None:
        while _libc.umount2(os.fsencode(point), _MNT_DETACH | _UMOUNT_NOFOLLOW) == 0:
            look()

    look()
    points = [RUN / names[0], *(point for point in _mount_points() if point.name in names)]
    for folder in dict.fromkeys(parent for point in points for parent in list(point.parents)[:-1]):
        detach(folder)
    for point in points:  # those whose folder is on the root file system
        detach(point)
    for name in names:
        for layer in layers:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=layer)


def remove_all(namespaces: Iterable[str]) -> None:
    """Take the names of many namespaces away.

    They are held until the last name is gone: taking a mount away waits for every processor to look up from
    its work, and the kernel, which begins to dismantle a namespace when no process holds it, would be at work.
    """
    prepare()
    names, held = tuple(namespaces), []
    try:
        # Held or not, they go: where few files may be open, some are not.
        for namespace in names[: max(0, _allow_files() - _OTHER_FILES)]:
            with contextlib.suppress(OSError):
                held.append(os.open(path(namespace), os.O_RDONLY | os.O_CLOEXEC))
        remove(*names)
    finally:
        for descriptor in held:
            os.close(descriptor)


def _seed() -> Path:
    """Return the file that this process links its names from. Other tools take it for a namespace: it must not stay."""
    return RUN / f".lab.{os.getpid()}"


def remove_seed() -> None:
    """Remove this process's seed, and those of processes that did not come to it."""
    for file in (_seed(), *RUN.glob(".lab.*")):
        if file == _seed() or not _runs(file.name.removeprefix(".lab.")):
            file.unlink(missing_ok=True)


def _runs(pid: str) -> bool:
    """Tell whether a process runs; one that has ended and that its parent has not heard of yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (OSError, IndexError):
        return False


def exists(namespace: str) -> bool:
    """Tell whether a name has a namespace mounted over it."""
    try:
        return path(namespace).stat().st_dev != RUN.stat().st_dev
    except FileNotFoundError:
        return False


def enter(namespace: str) -> None:
    """Move this thread into a namespace.

    Raises:
        KernelError: there is no such namespace.

    """
    try:
        descriptor = os.open(path(namespace), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise KernelError(
            f"{path(namespace)}: no such namespace; it must be there while its lab runs; run `lab up` again to heal it"
        ) from None
    try:
        enter_descriptor(descriptor)
    finally:
        os.close(descriptor)


def enter_descriptor(descriptor: int) -> None:
    """Move this thread into the namespace of an open descriptor."""
    _call("setns", descriptor, _CLONE_NEWNET)


@contextlib.contextmanager
def visit(namespace: str) -> Iterator[None]:
    """Put this thread in a namespace for as long as it takes to open a socket.

    Raises:
        KernelError: there is no such namespace.

    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(namespace)
        yield
    finally:
        enter_descriptor(home)
        os.close(home)


def write_sysctl(key: str, value: int) -> None:
    """Write a value under /proc/sys of the namespace this thread is in; ``key`` is dotted.

    A key under net.ipv6 that is not there is no loss: the kernel has no IPv6.
    """
    file = "/proc/sys/" + key.replace(".", "/")
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        if key.startswith("net.ipv6."):
            return
        raise
    try:
        os.write(descriptor, str(value).encode())
    finally:
        os.close(descriptor)


def own_files(hostname: str, folder: Path, files: dict[str, str]) -> None:
    """Give this process a hostname, a /sys of its namespace, and its own copies of files.

    ``files`` maps paths to texts. They are held in memory, mounted over ``folder`` in a mount
    namespace of the process's own, and each bound over its path where that exists. Nothing of
    this is seen by another process.
    """
    _call("unshare", _CLONE_NEWNS | _CLONE_NEWUTS)
    _call("mount", b"none", b"/", None, _MS_REC | _MS_SLAVE, None)
    _call("sethostname", hostname.encode(), len(hostname.encode()))
    # A user namespace may not mount sysfs; /sys then shows another namespace's interfaces.
    _libc.mount(b"sysfs", b"/sys", b"sysfs", 0, None)
    _call("mount", b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"mode=0755")
    for number, (target, text) in enumerate(files.items()):
        copy = folder / str(number)
        copy.write_text(text)
        if Path(target).exists():
            _call("mount", os.fsencode(copy), os.fsencode(target), None, _MS_BIND, None)


def bind(folders: Mapping[Path, Path]) -> None:
    """Show this process folders in other places; ``folders`` maps what is shown to where. No other process sees it."""
    _call("unshare", _CLONE_NEWNS)
    _call("mount", b"none", b"/", None, _MS_REC | _MS_SLAVE, None)
    # All are looked up before any is mounted: one may hide where another lies.
    held = [(os.open(source, os.O_PATH | os.O_CLOEXEC), target) for source, target in folders.items()]
    for descriptor, target in held:
        source = f"/proc/thread-self/fd/{descriptor}".encode()
        _call("mount", source, os.fsencode(target), None, _MS_BIND, None)
        os.close(descriptor)


def end_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Ask for a signal to this process when its parent ends; ``parent`` is what it should be."""
    _libc.prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(1)


class _DeferredSignals:
    """SIGINT, SIGTERM and SIGHUP, deferred until ``release``: their handlers run in the main thread."""

    def __init__(self) -> None:
        self._came: list[int] = []
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            try:
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    self._before[number] = signal.getsignal(number)
                    signal.signal(number, self._keep)
            except BaseException:
                self.restore()
                raise

    def _keep(self, number: int, _frame: object) -> None:
        self._came.append(number)

    def restore(self) -> None:
        """Handle interrupts as before; forget those that were kept back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def release(self) -> None:
        """Handle interrupts as before, first of all those that were kept back."""
        self.restore()
        for number in self._came:
            signal.raise_signal(number)


class _Child(Generic[_T]):
    """A function that runs in a child process."""

    def __init__(self, function: Callable[[], _T]) -> None:
        self._function = function

    def __enter__(self) -> Self:
        reader, writer = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        kept_back = _DeferredSignals()  # until we know whom an interrupt must end
        try:
            self._pid = os.fork()
        except OSError:
            kept_back.restore()
            raise
        if self._pid == 0:
            status = 1
            try:
                kept_back.restore()
                # If this process is killed, half a lab must not go on growing.
                _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                os.close(reader)
                try:
                    outcome: tuple[bool, object] = (True, self._function())
                except BaseException as error:  # noqa: BLE001 - handed to the parent, which raises it
                    outcome = (False, error)
                with os.fdopen(writer, "wb") as pipe:
                    pipe.write(pickle.dumps(outcome))
                status = 0
            finally:
                os._exit(status)
        os.close(writer)
        self._pipe = os.fdopen(reader, "rb")
        try:
            kept_back.release()
        except BaseException as error:
            self.__exit__(type(error))
            raise
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            # An interrupt removes what was made: nothing may be made after that.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self._pipe.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)

    def result(self) -> _T:
        """Wait for the end; return what the function returned, or raise what it raised."""
        data = self._pipe.read()
        if not data:
            raise LabError("a child process ended without a result; report this")
        done, value = pickle.loads(data)  # noqa: S301 - written by our own child
        if not done:
            raise value
        return value  # type: ignore[no-any-return]


def in_child(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run a function in a child process and return what it returns, or raise what it raises.

    The result is pickled. Whatever the child does to its namespaces ends with it.
    """
    with _Child(partial(function, *args, **kwargs)) as child:
        return child.result()


@contextlib.contextmanager
def beside(function: Callable[_P, object], *args: _P.args, **kwargs: _P.kwargs) -> Iterator[None]:
    """Run a function in a child process while the body of ``with`` runs here; both have ended after it.

    What the body raises ends the child; what the child raises is raised at the end of the body.
    """
    with _Child(partial(function, *args, **kwargs)) as child:
        yield
        child.result()


def run_in(namespace: str, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run a function inside a namespace, in a child process; see ``in_child``."""

    def inside() -> _T:
        enter(namespace)
        return function(*args, **kwargs)

    return in_child(inside)
