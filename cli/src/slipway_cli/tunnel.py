"""Bytes between stdin/stdout and port 22 of a machine, through the gateway: made to be ssh's ProxyCommand."""

import contextlib
import os
import shlex
import shutil
import sys
import threading

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from .client import Api, Json
from .faults import Code, Fault
from .gateway import close_code, ending, open_stream
from .login import state_folder
from .terminal import write_all

CHUNK = 64 * 1024


def carry(api: Api, vm: Json) -> None:
    """Carry bytes until either side ends; Fault with code 255 when the machine's side could not be had."""
    try:
        stream = open_stream(api, vm, "ssh")
    except Fault as fault:
        raise Fault(fault.sentence, fault.hint, Code.NO_TUNNEL, fault.slug) from None
    stdin, stdout = sys.stdin.fileno(), sys.stdout.fileno()
    threading.Thread(target=_upload, args=(stream, stdin), daemon=True).start()
    try:
        for message in stream:
            write_all(stdout, message if isinstance(message, bytes) else message.encode())
    except BrokenPipeError:  # ssh has gone
        pass
    except ConnectionClosed as closed:
        why = ending(close_code(closed), vm["name"])
        raise Fault(why.sentence, why.hint, Code.NO_TUNNEL) from None
    finally:
        with contextlib.suppress(OSError):
            stream.close()


def _upload(stream: ClientConnection, stdin: int) -> None:
    with contextlib.suppress(ConnectionClosed, OSError):
        while data := os.read(stdin, CHUNK):
            stream.send(data)
        stream.close()  # ssh has nothing more to say


def ssh_command(vm: Json, user: str, options: list[str], command: list[str]) -> list[str]:
    """Return the ssh command line that reaches a machine through `slipway tunnel`, by its id.

    Host keys are kept by domain UUID in a file of our own: another machine of the same name is another machine,
    and a sandbox that was reset has new keys.
    """
    ssh = shutil.which("ssh")
    if ssh is None:
        raise Fault("There is no ssh on this computer.", "Install it: on Debian, apt install openssh-client.")
    known = state_folder() / "known_hosts"
    known.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    proxy = f"{shlex.quote(sys.executable)} -m slipway_cli tunnel {vm['id']}".replace("%", "%%")
    ours = {
        "ProxyCommand": proxy,
        "HostKeyAlias": f"slipway-{vm['domain_uuid']}",
        "UserKnownHostsFile": f'"{known}"'.replace("%", "%%"),
        "StrictHostKeyChecking": "accept-new",
        "CheckHostIP": "no",
        "LogLevel": "ERROR",
    }
    line = [ssh]
    for option in options:
        line += ["-o", option]  # the first of a kind counts, so the person's go before ours
    for key, value in ours.items():
        line += ["-o", f"{key}={value}"]
    return [*line, "-l", user, vm["name"], *(["--", *command] if command else [])]
