"""A clone's identity: made here, and put into words for the listener in the guest or for its agent.

The listener's protocol stands in guests/ident/ident.c. The address comes last: until then nobody can reach the clone.
Values are checked here, because for the agent they become part of a shell script.
"""

import ipaddress
import re
import secrets
import uuid
from collections.abc import Iterator

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from .errors import BadSpec
from .specs import HostKey, Identity

SEED_BYTES = 64
MAX_SEED_BYTES = 512
MAX_KEY_BYTES = 8192
MAX_ANSWER_BYTES = 64 * 1024
NO_RESEED = 75  # the exit code of a script that could not start the guest's random numbers anew
# What an older listener may refuse without harm.
OPTIONAL = frozenset({"boot_id", "uuid", "forget_keys"})

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_HOSTNAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_MACHINE_ID = re.compile(r"[0-9a-f]{32}")
_KEY_KIND = re.compile(r"[a-z0-9]{1,16}")


def new_identity(mac: str, address: str, prefix_length: int, gateway: str, hostname: str) -> Identity:
    """An identity with fresh secrets: random numbers, machine id, and an Ed25519 host key."""
    return Identity(
        seed=secrets.token_bytes(SEED_BYTES),
        mac=mac,
        address=address,
        prefix_length=prefix_length,
        gateway=gateway,
        hostname=hostname,
        machine_id=secrets.token_hex(16),
        ssh_keys=(new_host_key(hostname),),
    )


def new_host_key(comment: str) -> HostKey:
    """A fresh Ed25519 key as sshd reads it: generating it in an emulated guest takes a second."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return HostKey(
        kind="ed25519",
        private=key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
        public=public + f" {comment}\n".encode(),
    )


def check_identity(identity: Identity) -> None:
    """BadSpec unless every value is what it is said to be."""
    if not SEED_BYTES <= len(identity.seed) <= MAX_SEED_BYTES:
        raise BadSpec(f"a seed of {len(identity.seed)} bytes")
    if not _HOSTNAME.fullmatch(identity.hostname) or not _MACHINE_ID.fullmatch(identity.machine_id):
        raise BadSpec("no host name or no machine id")
    if identity.mac:
        if not _MAC.fullmatch(identity.mac):
            raise BadSpec(f"no MAC: {identity.mac!r}")
        try:
            ipaddress.IPv4Interface(f"{identity.address}/{identity.prefix_length}")
            ipaddress.IPv4Address(identity.gateway or "0.0.0.0")  # noqa: S104 - nothing binds to it
        except ValueError as error:
            raise BadSpec(str(error)) from error
    for key in identity.ssh_keys:
        if not _KEY_KIND.fullmatch(key.kind) or max(len(key.private), len(key.public)) > MAX_KEY_BYTES:
            raise BadSpec("no SSH host key")


def request(identity: Identity, machine: uuid.UUID, now: float, word: str) -> bytes:
    """The lines for the listener; it answers `ack WORD`, then `end WORD`. `now`: seconds since 1970."""
    return "".join(f"{key}={value}\n" for key, value in _lines(identity, machine, now, word)).encode()


def _lines(identity: Identity, machine: uuid.UUID, now: float, word: str) -> Iterator[tuple[str, str]]:
    yield "seed", identity.seed.hex()
    if identity.ssh_keys:
        yield "forget_keys", "all"
    for key in identity.ssh_keys:
        yield "ssh_key", f"{key.kind} {key.private.hex()} {key.public.hex()}"
    yield "machine_id", identity.machine_id
    yield "hostname", identity.hostname
    yield "clock", f"{now:.9f}"
    yield "boot_id", str(uuid.uuid4())
    yield "uuid", str(machine)
    if identity.mac:
        gateway = identity.gateway or "0.0.0.0"  # noqa: S104 - nothing binds to it
        yield "net", f"{identity.mac} {identity.address}/{identity.prefix_length} {gateway}"
    yield "ack", word
    yield "end", word


def script(identity: Identity, machine: uuid.UUID, now: float) -> str:
    """The same for a guest without the listener, as a script for its agent to run. It needs what any Linux has.

    It ends with NO_RESEED, and has changed nothing, where the guest cannot start its random numbers anew.
    """
    name = identity.hostname
    lines = ["set -e", "read -r began rest < /proc/uptime", reseeding(identity.seed), *_keys(identity)]
    lines += [_MACHINE_ID_FILES.format(machine_id=identity.machine_id)]
    lines += [f"hostname {name}", f"printf '%s\\n' {name} > /etc/hostname", _CLOCK.format(now=round(now))]
    lines += [_SHOWN, f"shown {uuid.uuid4()} /proc/sys/kernel/random/boot_id 444"]
    lines += [f"shown {machine} /sys/class/dmi/id/product_uuid 400"]
    if identity.mac:
        lines.append(_NET.format(mac=identity.mac, address=f"{identity.address}/{identity.prefix_length}"))
        lines += [f"ip route replace default via {identity.gateway}"] if identity.gateway else []
    return "\n".join([*lines, ""])


def reseeding(seed: bytes) -> str:
    """The part of the script that gives the kernel random numbers, and lets it start its generator anew with them.

    What is written to /dev/urandom is only mixed in, and used up to a minute later. Starting anew takes a call that
    shells have not: Python or Perl makes it. Without them clones would draw the same keys.
    """
    return _RESEED.format(seed=seed.hex(), code=NO_RESEED)


_RESEED = """reseed='import fcntl,os,struct,sys
seed=bytes.fromhex(sys.argv[1]); device=os.open("/dev/urandom",os.O_RDWR)
fcntl.ioctl(device,0x40085203,struct.pack("ii",8*len(seed),len(seed))+seed); fcntl.ioctl(device,0x5207)'
python3 -IS -c "$reseed" {seed} 2>/dev/null ||
perl -e 'open(D,"+<","/dev/urandom") or exit 1; $s=pack("H*",$ARGV[0]); $l=length$s; $p=pack("iia*",8*$l,$l,$s);
ioctl(D,0x40085203,$p) && ioctl(D,0x5207,0) or exit 1' {seed} 2>/dev/null || exit {code}"""

FORGET_KEYS = "rm -f /etc/ssh/ssh_host_* /etc/dropbear/dropbear_*_host_key"
# Servers that have keys in memory: sshd reads its own again, dropbear is started again by who watches over it.
_RELOAD = """for pid in $(cat /run/sshd.pid 2>/dev/null || true); do kill -HUP "$pid" || true; done
for pid in $(pidof dropbear || true); do kill "$pid" || true; done"""


def _keys(identity: Identity) -> Iterator[str]:
    if not identity.ssh_keys:
        return
    yield f"{FORGET_KEYS}; mkdir -p /etc/ssh"
    for key in identity.ssh_keys:
        path = f"/etc/ssh/ssh_host_{key.kind}_key"
        yield f"(umask 077; printf {_octal(key.private)} > {path})"
        yield f"printf {_octal(key.public)} > {path}.pub; chmod 644 {path}.pub"
    yield _RELOAD


_MACHINE_ID_FILES = """printf '%s\\n' {machine_id} > /etc/machine-id
if [ -f /var/lib/dbus/machine-id ]; then printf '%s\\n' {machine_id} > /var/lib/dbus/machine-id; fi"""

# What came before it may have taken seconds, in which everything was read from disk.
_CLOCK = """read -r here rest < /proc/uptime
date -u -s @$(({now} + ${{here%.*}} - ${{began%.*}})) >/dev/null"""

# A file mounted over the kernel's, where that is possible: who reads it sees the new one.
_SHOWN = """shown() {
while umount "$2" 2>/dev/null; do :; done
file=/run/slipway-${2##*/}; rm -f "$file"; printf '%s\\n' "$1" > "$file" && chmod "$3" "$file" &&
mount --bind "$file" "$2" || true
} 2>/dev/null"""

_NET = """card=$(ls -d /sys/class/net/*/device | head -n 1); card=${{card%/device}}; card=${{card##*/}}
ip address flush dev "$card"
ip link set "$card" address {mac} 2>/dev/null || {{ ip link set "$card" down; ip link set "$card" address {mac}; }}
ip link set "$card" up; ip address add {address} dev "$card\""""


def _octal(data: bytes) -> str:
    return "'" + "".join(f"\\{byte:03o}" for byte in data) + "'"
