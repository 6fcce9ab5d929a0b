"""Machines."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import completing, keys
from ..asking import confirm, secret
from ..client import Api, Json, open_api
from ..ending import delete, show_end
from ..following import follow
from ..lookups import find
from ..options import JsonFlag, Machine, Project, Wait, Yes
from ..showing import plain, say, show_facts, show_json, show_table, size, when

app = typer.Typer(help="Machines.", no_args_is_help=True)
USER_DATA_BYTES = 64 * 1024


@app.command("ls")
def list_vms(
    project: Project = "",
    status: Annotated[list[str], typer.Option(help="Only those in this status; may be repeated.")] = [],  # noqa: B006
    search: Annotated[str, typer.Option(help="Words in name, address, owner or image.")] = "",
    json: JsonFlag = False,
) -> None:
    """List your machines, those that need attention first."""
    with open_api() as api:
        rows = list(api.pages("vms", project=project, status=status, search=search))
    if json:
        show_json(rows)
        return
    lines = [
        [r["name"], status_of(r), size(r), r["image"]["name"], ", ".join(r["ip_addresses"]), r["project"]["name"]]
        for r in rows
    ]
    filtered = project or status or search
    none = "No machine is like that." if filtered else "You have no machines yet. Make one: slipway vm create --help"
    show_table(["NAME", "STATUS", "SIZE", "IMAGE", "ADDRESS", "PROJECT"], lines, none)


def status_of(row: Json) -> str:
    """Say a machine's status, why, and what is under way."""
    operation = row.get("operation")
    more = [row["status_reason"].replace("_", " ")] if row.get("status_reason") else []
    if operation:
        more.append(f"{operation['kind'].replace('_', ' ')} {operation['progress']} %")
    return f"{row['status']} ({', '.join(more)})" if more else str(row["status"])


@app.command("show")
def show_vm(name: Machine, project: Project = "", json: JsonFlag = False) -> None:
    """Show one machine."""
    with open_api() as api:
        vm = find(api, "machine", name, project)
    if json:
        show_json(vm)
        return
    show_facts(
        [
            ("name", vm["name"]),
            ("id", vm["id"]),
            ("status", status_of(vm)),
            ("description", vm["description"]),
            ("address", ", ".join(vm["ip_addresses"])),
            ("size", f"{size(vm)} ({vm['flavor']['name']})"),
            ("image", vm["image"]["name"]),
            ("project", vm["project"]["name"]),
            ("node", vm["node"]["name"]),
            ("created", f"{when(vm['created_at'])} by {vm['created_by']['username']}"),
            ("uses", _load(vm.get("load"))),
            ("operation", vm["operation"]["id"] if vm["operation"] else ""),
        ]
    )


def _load(load: Json | None) -> str:
    if not load:
        return ""
    said = []
    if load["cpu_percent"] is not None:
        said.append(f"{load['cpu_percent']} % CPU")
    if load["memory_used_mib"] is not None:
        said.append(f"{load['memory_used_mib']} MiB")
    return ", ".join(said)


@app.command("create")
def create_vm(
    name: Annotated[str, typer.Argument(help="Small letters, digits, hyphens: it becomes the host name, too.")],
    *,
    image: Annotated[str, typer.Option("--image", "-i", help="See image ls.", autocompletion=completing.images)],
    flavor: Annotated[str, typer.Option("--flavor", "-f", help="See flavor ls.", autocompletion=completing.flavors)],
    project: Project = "",
    description: Annotated[str, typer.Option(help="For people.")] = "",
    ssh_key: Annotated[
        list[Path],
        typer.Option(help="A public key file for the image's user; may be repeated. Without it, your own key."),
    ] = [],  # noqa: B006
    no_ssh_key: Annotated[bool, typer.Option("--no-ssh-key", help="Put in no key at all.")] = False,
    ask_password: Annotated[
        bool, typer.Option("--ask-password", help="Ask for a password of the image's user, or read it from stdin.")
    ] = False,
    user_data: Annotated[
        Path | None, typer.Option(help="A cloud-init file or script for the first boot, at most 64 KiB.")
    ] = None,
    start: Annotated[bool, typer.Option("--start/--no-start", help="Start it.")] = True,
    wait: Wait = True,
    json: JsonFlag = False,
) -> None:
    """Make a machine, and wait until its guest answers."""
    body: dict[str, Any] = {"name": name, "image": image, "flavor": flavor, "start": start}
    optional = {
        "project": project,
        "description": description,
        "ssh_keys": [] if no_ssh_key else _keys(ssh_key),
        "user_data": keys.text_of(user_data, USER_DATA_BYTES) if user_data else "",
        "password": secret("Password", twice=True) if ask_password else "",
    }
    body |= {key: value for key, value in optional.items() if value}
    with open_api() as api:
        _finish(api, api.post("vms", body), wait, json, lambda vm: _made(vm, start))


def _made(vm: Json, started: bool) -> str:
    if not started:
        return f"{vm['name']} is made, and off. Start it: slipway vm start {vm['name']}"
    name, addresses = vm["name"], ", ".join(vm["ip_addresses"])
    return f"{name} is running at {addresses}. Go in: slipway vm ssh {name}, or slipway vm console {name}"


def _keys(files: list[Path]) -> list[str]:
    """Return the public keys of these files, or the person's own where none is named."""
    if not files:
        mine = keys.own()
        if mine is None:
            return []
        say(f"With your key {mine} (--no-ssh-key leaves it out).")
        files = [mine]
    return keys.public_keys(files)


def _finish(api: Api, answer: Json, wait: bool, json: bool, words: Callable[[Json], str]) -> None:
    """Wait if asked to, then show the machine as it is."""
    if wait:
        operation = follow(api, answer["operation"])
        answer = {"vm": api.get(f"vms/{answer['vm']['id']}"), "operation": operation}
    show_end(answer, wait, json, lambda: words(answer["vm"]))


def _verb(verb: str, doc: str, done: str) -> None:
    """Make one of the commands that only name a machine and a verb."""

    def command(name: Machine, project: Project = "", wait: Wait = True, json: JsonFlag = False) -> None:
        with open_api() as api:
            vm = find(api, "machine", name, project)
            _finish(api, api.post(f"vms/{vm['id']}/{verb}"), wait, json, lambda seen: f"{seen['name']} {done}.")

    command.__doc__ = doc
    app.command(verb)(command)


_verb("start", "Start a machine that is off.", "is running")
_verb("stop", "Ask the guest to shut down.", "is off")
_verb("force-off", "Switch off at once, as if the plug were pulled.", "is off")
_verb("reboot", "Ask the guest to reboot.", "has rebooted")
_verb("pause", "Stop the processors; memory stays.", "is paused")
_verb("resume", "Let a paused machine go on.", "is running")
_verb("retry", "Try a create that failed again.", "is running")


@app.command("resize")
def resize_vm(
    name: Machine,
    flavor: Annotated[str, typer.Argument(help="See flavor ls.", autocompletion=completing.flavors)],
    project: Project = "",
    wait: Wait = True,
    json: JsonFlag = False,
) -> None:
    """Give a machine that is off another size. A disk never shrinks."""
    with open_api() as api:
        vm = find(api, "machine", name, project)
        answer = api.post(f"vms/{vm['id']}/resize", {"flavor": flavor})
        _finish(api, answer, wait, json, lambda seen: f"{seen['name']} has {size(seen)}.")


@app.command("rename")
def rename_vm(
    name: Machine,
    new_name: Annotated[str, typer.Argument(help="The new name.")],
    project: Project = "",
    json: JsonFlag = False,
) -> None:
    """Give a machine another name. The host name inside the guest stays."""
    with open_api() as api:
        vm = find(api, "machine", name, project)
        changed = api.patch(f"vms/{vm['id']}", {"name": new_name})
    if json:
        show_json(changed)
    else:
        print(plain(f"{vm['name']} is now {changed['name']}."))


@app.command("rm")
def delete_vm(
    name: Machine, project: Project = "", yes: Yes = False, wait: Wait = True, json: JsonFlag = False
) -> None:
    """Delete a machine and its disks for good."""
    with open_api() as api:
        vm = find(api, "machine", name, project)
        confirm(f"Delete {plain(vm['name'])} of {plain(vm['project']['name'])} and its disks for good?", yes)
        delete(api, f"vms/{vm['id']}", vm["name"], wait=wait, json=json)
