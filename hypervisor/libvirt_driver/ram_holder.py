"""A process that holds a frozen domain's RAM as a sealed memory file, for QEMU to map. Run as a file, never imported.

    ram_holder.py keep RAM-FILE NAME UID GID     stays until it is ended or the file is gone
    ram_holder.py lend RAM-FILE NAME UID GID     an unsealed copy; ends when its standard input does

It prints "PID DESCRIPTOR": the memory file is /proc/PID/fd/DESCRIPTOR for processes of that user. Sealed, nobody can
change what all clones read, neither a QEMU that was broken out of nor root. Clones outlive the holder. It belongs to
QEMU's user, because only that user's processes may follow such a path, so it is given no environment to be read in.
"""

import ctypes
import fcntl
import os
import signal
import sys
from pathlib import Path

_CHUNK = 4 * 1024 * 1024
_LOOK_SECONDS = 10
_PR_SET_DUMPABLE = 4
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


def copy(source: int, target: int) -> None:
    """The same bytes; what is a hole in the file takes no memory."""
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    place = 0
    while place < size:
        try:
            place = os.lseek(source, place, os.SEEK_DATA)
        except OSError:  # only a hole is left
            return
        end = os.lseek(source, place, os.SEEK_HOLE)
        os.lseek(target, place, os.SEEK_SET)
        while place < end:
            place += os.sendfile(target, source, place, min(_CHUNK, end - place))


def become(uid: int, gid: int) -> None:
    """The user that QEMU runs as, and open to that user's processes."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def detach() -> None:
    """A process of no session and no parent: whoever started it may be killed with all its children."""
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")


def tell(memory: int) -> None:
    """Says where the memory is, to whoever started this."""
    sys.stdout.write(f"{os.getpid()} {memory}\n")
    sys.stdout.flush()


def wait_for_the_end(ram: Path) -> None:
    """Until it is told to end, or looks and finds that there is nothing left to hold the memory for."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    while ram.exists():
        if signal.sigtimedwait({signal.SIGTERM}, _LOOK_SECONDS):
            return


def main() -> None:
    """See the module."""
    what, path, name, uid, gid = sys.argv[1:]
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    if what == "keep":
        detach()
    become(int(uid), int(gid))
    memory = os.memfd_create(name, os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    copy(source, memory)
    os.close(source)
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS | (fcntl.F_SEAL_WRITE if what == "keep" else 0))
    tell(memory)
    if what == "keep":
        wait_for_the_end(Path(path))
    else:
        sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
