"""A clone's identity: made here, and put into words for the listener in the guest or for its agent.

The listener's protocol stands in guests/ident/ident.c. Everything up to `ack` is what nobody may see of the template;
the rest follows at once. Values are checked here, because for the agent they become part of a shell script.
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
# What an older listener may refuse without harm.
OPTIONAL = frozenset({"boot_id"})

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


def request(identity: Identity, now: float, word: str) -> bytes:
    """The lines for the listener; it answers `ack WORD`, then `end WORD`. `now`: seconds since 1970."""
    return "".join(f"{key}={value}\n" for key, value in _lines(identity, now, word)).encode()


def _lines(identity: Identity, now: float, word: str) -> Iterator[tuple[str, str]]:
    yield "seed", identity.seed.hex()
    if identity.mac:
        gateway = identity.gateway or "0.0.0.0"  # noqa: S104 - nothing binds to it
        yield "net", f"{identity.mac} {identity.address}/{identity.prefix_length} {gateway}"
    yield "hostname", identity.hostname
    yield "clock", f"{now:.9f}"
    yield "boot_id", str(uuid.uuid4())
    yield "ack", word
    yield "machine_id", identity.machine_id
    for key in identity.ssh_keys:
        yield "ssh_key", f"{key.kind} {key.private.hex()} {key.public.hex()}"
    yield "end", word


def script(identity: Identity, now: float) -> str:
    """The same for a guest without the listener, as a script for its agent to run. It needs what any Linux has.

    Random numbers written to /dev/urandom are only mixed in; that the generator starts anew with them takes a call that
    shells have not, so Python or Perl makes it where there is one.
    """
    name = identity.hostname
    lines = ["set -e", f"seed={identity.seed.hex()}", _RESEED]
    if identity.mac:
        lines.append(_NET.format(mac=identity.mac, address=f"{identity.address}/{identity.prefix_length}"))
        lines += [f"ip route replace default via {identity.gateway}"] if identity.gateway else []
    lines += [f"date -u -s @{round(now)} >/dev/null", f"hostname {name}", f"printf '%s\\n' {name} > /etc/hostname"]
    lines += [f"printf '%s\\n' {identity.machine_id} > /etc/machine-id", "mkdir -p /etc/ssh", "umask 077"]
    for key in identity.ssh_keys:
        path = f"/etc/ssh/ssh_host_{key.kind}_key"
        lines.append(f"printf {_octal(key.private)} > {path}")
        lines.append(f"printf {_octal(key.public)} > {path}.pub; chmod 644 {path}.pub")
    return "\n".join([*lines, ""])


_RESEED = """printf %s "$seed" > /dev/urandom
reseed='import fcntl,os,struct,sys
seed=bytes.fromhex(sys.argv[1]); device=os.open("/dev/urandom",os.O_RDWR)
fcntl.ioctl(device,0x40085203,struct.pack("ii",8*len(seed),len(seed))+seed); fcntl.ioctl(device,0x5207)'
if command -v python3 >/dev/null; then python3 -IS -c "$reseed" "$seed"; elif command -v perl >/dev/null; then
perl -e 'open(D,"+<","/dev/urandom");$s=pack("H*",$ARGV[0]);$l=length$s;ioctl(D,0x40085203,pack("iia*",8*$l,$l,$s))
;ioctl(D,0x5207,0)' "$seed"; fi"""

_NET = """card=$(ls -d /sys/class/net/*/device | head -n 1); card=${{card%/device}}; card=${{card##*/}}
ip address flush dev "$card"
ip link set "$card" address {mac} 2>/dev/null || {{ ip link set "$card" down; ip link set "$card" address {mac}; }}
ip link set "$card" up; ip address add {address} dev "$card\""""


def _octal(data: bytes) -> str:
    return "'" + "".join(f"\\{byte:03o}" for byte in data) + "'"
