"""Public keys of the person, and how a sandbox comes to let them in."""

from pathlib import Path

from .client import Api, Json
from .faults import Code, Fault
from .runs import Collected, follow_run
from .showing import plain, say

NAMES = ("id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub")
FILE_BYTES = 40_000
ADMIT_SECONDS = 30
# By the guest's own tools alone. A user that the guest does not have says so itself.
ADMIT = """
home=$(grep "^$1:" /etc/passwd | cut -d: -f6)
[ -n "$home" ] || { echo "it has no user $1" >&2; exit 1; }
umask 077
mkdir -p "$home/.ssh" && cd "$home/.ssh" || exit 1
while read -r line; do
  grep -qxF -e "$line" authorized_keys 2>/dev/null || printf '%s\\n' "$line" >>authorized_keys || exit 1
done
chown -R "$1" "$home/.ssh"
"""


def own() -> Path | None:
    """Return the person's public key file."""
    return next((path for name in NAMES if (path := Path.home() / ".ssh" / name).is_file()), None)


def public_keys(files: list[Path]) -> list[str]:
    """Return the lines of public key files; Fault."""
    found = []
    for path in files:
        lines = text_of(path, FILE_BYTES).splitlines()
        if any("PRIVATE KEY" in line for line in lines):
            raise Fault(f"{path} is a private key. It stays with you.", f"Give the public one: {path}.pub", Code.USAGE)
        found += [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return found


def text_of(path: Path, most_bytes: int) -> str:
    """Return the content of a text file; Fault."""
    try:
        content = path.expanduser().read_bytes()
    except OSError as error:
        raise Fault(f"{path} cannot be read: {error.strerror}.", code=Code.USAGE) from None
    if len(content) > most_bytes:
        raise Fault(f"{path} has {len(content)} bytes, {most_bytes} is the most.", code=Code.USAGE)
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Fault(f"{path} is not text in UTF-8.", code=Code.USAGE) from None


def admit(api: Api, sandbox: Json, user: str, identity: Path | None) -> None:
    """Let the person's key into a sandbox, by a command in it.

    Where that cannot be done, it is said, and no Fault: perhaps the sandbox's template lets the person in.
    """
    file = own() if identity is None else identity.with_name(f"{identity.name}.pub")
    if file is None:
        say("slipway: You have no key in ~/.ssh. Make one: ssh-keygen -t ed25519")
        return
    if not file.expanduser().is_file():
        say(f"slipway: There is no {file}, so no key was put in.")
        return
    body = {
        "argv": ["/bin/sh", "-c", ADMIT, "sh", user],
        "stdin": "".join(f"{key}\n" for key in public_keys([file])),
        "timeout_seconds": ADMIT_SECONDS,
    }
    said = Collected()
    try:
        run = follow_run(api, api.post(f"sandboxes/{sandbox['id']}/runs", body)["id"], said)
    except Fault as fault:
        why = fault.sentence
    else:
        if run["exit_code"] == 0:
            return
        why = bytes(said.stderr).decode(errors="replace").strip() or f"the command for it ended as {run['status']}"
    say(f"slipway: Your key could not be put in ({plain(why)}). Trying without.")
