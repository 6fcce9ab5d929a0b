"""Ways into a guest: the serial console, ssh, and the tunnel that ssh goes through."""

import os
from pathlib import Path
from typing import Annotated

import typer

from .. import console, keys, tunnel
from ..client import Api, Json, open_api
from ..lookups import find, find_either, is_id
from ..options import EitherArgument, Machine, Project, SandboxArgument

DEFAULT_USER = "slipway"
Command = Annotated[list[str] | None, typer.Argument(metavar="COMMAND", help="Run this instead of a shell; after --.")]
User = Annotated[str, typer.Option("--user", "-l", help="Who to be in the guest; the image's user by default.")]
Identity = Annotated[Path | None, typer.Option("--identity", "-i", help="A private key file, as for ssh.")]
SshOption = Annotated[
    list[str], typer.Option("--option", "-o", help="An option for ssh, as KEY=VALUE; may be repeated.")
]
NoKey = Annotated[bool, typer.Option("--no-ssh-key", help="Leave the keys that it lets in as they are.")]


def vm_console(name: Machine, project: Project = "") -> None:
    """Open the serial console in this terminal. Ctrl-] leaves it."""
    with open_api() as api:
        console.attach(api, find(api, "machine", name, project))


def sandbox_console(name: SandboxArgument, project: Project = "") -> None:
    """Open the serial console in this terminal. Ctrl-] leaves it."""
    with open_api() as api:
        console.attach(api, _vm_of(api, find(api, "sandbox", name, project)))


def vm_ssh(
    name: Machine,
    command: Command = None,
    *,
    user: User = "",
    identity: Identity = None,
    option: SshOption = [],  # noqa: B006
    project: Project = "",
) -> None:
    """Open a shell over ssh, or run a command.

    It goes through the portal: no address of the machine needs to be reachable from here.
    """
    with open_api() as api:
        vm = find(api, "machine", name, project)
        line = _line(vm, command, user or _user_of(api, vm), identity, option)
    os.execv(line[0], line)  # noqa: S606


def sandbox_ssh(
    name: SandboxArgument,
    command: Command = None,
    *,
    user: User = "",
    identity: Identity = None,
    option: SshOption = [],  # noqa: B006
    no_ssh_key: NoKey = False,
    project: Project = "",
) -> None:
    """Open a shell over ssh, or run a command.

    The sandbox needs a network. Your own key is put into it first: the public half of -i, or else of ~/.ssh/id_*.
    """
    with open_api() as api:
        vm = _vm_of(api, find(api, "sandbox", name, project))
        user = user or _user_of(api, vm)
        line = _line(vm, command, user, identity, option)
        if not no_ssh_key:
            keys.admit(api, vm, user, identity)
    os.execv(line[0], line)  # noqa: S606


def open_tunnel(name: EitherArgument, project: Project = "") -> None:
    """Carry stdin and stdout to port 22 of a machine: what vm ssh gives to ssh as its ProxyCommand."""
    with open_api() as api:
        vm = {"id": name, "name": name} if is_id(name) else find_either(api, name, project)
        tunnel.carry(api, vm)


def _vm_of(api: Api, sandbox: Json) -> Json:
    """Return the machine that a sandbox is."""
    return api.get(f"vms/{sandbox['id']}")


def _line(vm: Json, command: list[str] | None, user: str, identity: Path | None, options: list[str]) -> list[str]:
    more = [f'IdentityFile="{identity}"'] if identity else []
    return tunnel.ssh_command(vm, user, more + options, command or [])


def _user_of(api: Api, vm: Json) -> str:
    """Return the user that a machine's image comes with."""
    images = {image["id"]: image["default_user"] for image in api.pages("images")}
    return str(images.get(vm["image"]["id"], DEFAULT_USER))
