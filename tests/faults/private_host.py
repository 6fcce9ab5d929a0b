"""A hypervisor host of the test's own: libvirtd and QEMU in new mount, network and PID namespaces, freely killable.

Its socket lies in a folder that both worlds see, so that the portal's processes stay outside. When the namespace's
first process dies the kernel ends everything in it.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.live import ROOT, wait_for

# own copies of libvirt's folders; no virtlogd is needed to write logs to files
BEGIN = """
set -e
mount --make-rprivate /
for folder in etc/libvirt var/lib/libvirt var/cache/libvirt var/log/libvirt; do
  mkdir -p "$1/own/$folder"
  cp -a "/$folder/." "$1/own/$folder/" 2>/dev/null || true
  mount --bind "$1/own/$folder" "/$folder"
done
rm -rf /etc/libvirt/qemu/*.xml /etc/libvirt/qemu/networks /etc/libvirt/storage /etc/libvirt/nwfilter/slipway-*
rm -rf /var/lib/libvirt/qemu/* /var/lib/libvirt/dnsmasq/*
# /sys shows the cards of the namespace that it was mounted in
mkdir -p "$1/own/cgroup" && mount --rbind /sys/fs/cgroup "$1/own/cgroup"
mount -t sysfs sysfs /sys && mount --rbind "$1/own/cgroup" /sys/fs/cgroup
mkdir -p "$1/run" && mount --bind "$1/run" /run/libvirt
echo 'stdio_handler = "file"' >> /etc/libvirt/qemu.conf
ip link set lo up
touch "$1/ready"
while :; do sleep 3600 & wait $!; done
"""


@contextmanager
def home_with_micro() -> Iterator[Path]:
    """A folder for a host and the portal on it, with the image micro where the portal looks for it."""
    image = ROOT / "var/cache/images/micro.qcow2"
    assert image.exists(), "the image micro is missing: run ./dev image micro"
    folder = Path(tempfile.mkdtemp(prefix="sw-", dir="/tmp"))  # short: sockets have 107 bytes; open to QEMU's user
    folder.chmod(0o711)
    (folder / "data/images").mkdir(parents=True)
    shutil.copy(image, folder / "data/images")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class PrivateHost:
    """`uri` is how the portal reaches it; `start`, `kill`, `stop` and `go_on` are libvirtd's; `kill_qemu` a guest's."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.uri = f"qemu+unix:///system?socket={home / 'run/libvirt-sock'}"
        self.init: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "PrivateHost":
        (self.home / "run").mkdir(parents=True)
        log = (self.home / "host.log").open("ab")
        unshare = ["unshare", "-m", "-n", "-p", "-f", "--mount-proc", "--kill-child=SIGKILL"]
        self.init = subprocess.Popen(
            [*unshare, "bash", "-c", BEGIN, "host", str(self.home)], stdout=log, stderr=log, start_new_session=True
        )
        log.close()
        try:
            wait_for((self.home / "ready").exists, 30, "the namespaces are there")
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        if self.init:
            os.kill(self._first(), signal.SIGKILL)
            self.init.wait(20)
        shutil.rmtree(self.home / "own", ignore_errors=True)

    def _first(self) -> int:
        assert self.init is not None
        return int(Path(f"/proc/{self.init.pid}/task/{self.init.pid}/children").read_text().split()[0])

    def start(self) -> None:
        """Start libvirtd and wait until it answers."""
        enter = ["nsenter", "-t", str(self._first()), "-m", "-n", "-p"]
        pid_file = self.home / "libvirtd.pid"
        pid_file.unlink(missing_ok=True)
        done = subprocess.run(
            [*enter, "libvirtd", "-d", "-p", str(pid_file)], check=False, timeout=60, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        wait_for(self._answers, 60, "libvirtd answers")

    def _answers(self) -> bool:
        done = subprocess.run(["virsh", "-c", self.uri, "version"], check=False, capture_output=True, timeout=60)
        return done.returncode == 0

    def virsh(self, *words: str) -> str:
        done = subprocess.run(["virsh", "-c", self.uri, *words], check=True, capture_output=True, text=True, timeout=60)
        return done.stdout.strip()

    def pids(self, *words: str) -> list[int]:
        """The processes of the host whose command line has all these words, by the numbers of the outer world."""
        inside = Path(f"/proc/{self._first()}/ns/pid").readlink()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if all(word in line for word in words) and (folder / "ns/pid").readlink() == inside:
                    found.append(int(folder.name))
            except OSError:
                continue
        return found

    def signal(self, number: int, *words: str) -> None:
        found = self.pids(*words)
        assert found, f"no process with {words}"
        for pid in found:
            os.kill(pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL, "libvirtd -d")
        wait_for(lambda: not self.pids("libvirtd -d"), 20, "libvirtd is dead")

    def qemu_lives(self, uuid: str) -> bool:
        return bool(self.pids("qemu-system", uuid))

    def kill_qemu(self, uuid: str) -> None:
        self.signal(signal.SIGKILL, "qemu-system", uuid)
        wait_for(lambda: not self.qemu_lives(uuid), 20, "QEMU is dead")
