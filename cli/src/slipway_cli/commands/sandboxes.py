"""Sandboxes: machines that end."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from .. import isolation
from ..asking import confirm
from ..client import Api, Json, open_api
from ..durations import minutes_of
from ..ending import delete, show_end
from ..following import follow
from ..lookups import find
from ..options import JsonFlag, Project, SandboxArgument, Template, Wait, Yes
from ..showing import plain, say, show_facts, show_json, show_table, span, until, when
from .vms import status_of

app = typer.Typer(help="Sandboxes: machines for a while, clean again in a second.", no_args_is_help=True)
Lease = Annotated[str, typer.Option("--lease", help="How long it lives: 90m, 2h, 1d; minutes without a unit.")]
Network = Annotated[str, typer.Option("--network", "-n", help="none, isolated, or nat (out only).")]


@app.command("new")
def new_sandbox(
    template: Template,
    *,
    name: Annotated[str, typer.Option(help="Left out, it is named after its template.")] = "",
    lease: Lease = "",
    network: Network = "",
    project: Project = "",
    wait: Wait = True,
    json: JsonFlag = False,
) -> None:
    """Make a sandbox."""
    with open_api() as api:
        answer = api.post("sandboxes", asked(template, name=name, lease=lease, network=network, project=project))
        _finish(api, answer, wait, json, _made)


def asked(template: str, *, name: str = "", lease: str = "", network: str = "", project: str = "") -> dict[str, Any]:
    """Return the body that asks for a sandbox; what is not given is left to the template."""
    given = {
        "name": name,
        "network": network,
        "project": project,
        "lease_minutes": minutes_of(lease) if lease else None,
    }
    return {"template": template, **{key: value for key, value in given.items() if value}}


def _made(sandbox: Json) -> str:
    name = sandbox["name"]
    return f"{name} is ready, for {left(sandbox)}. Go in: slipway sandbox console {name}"


def warn_of_plain_boot(sandbox: Json) -> None:
    """Say it where a sandbox was booted and not cloned."""
    if sandbox["plain_reason"]:
        say(f"It was booted, not cloned: {plain(sandbox['plain_reason'])}")


def left(sandbox: Json) -> str:
    """Say what its clock shows."""
    lease = sandbox["lease"]
    if lease["status"] == "ended":
        return f"ended, gone in {until(lease['grace_until'])}"
    still = span(lease["seconds_left"])
    return f"{still} (paused)" if lease["status"] == "paused" else still


def _finish(api: Api, answer: Json, wait: bool, json: bool, words: Callable[[Json], str]) -> None:
    """Wait if asked to, then show the sandbox as it is."""
    if wait:
        operation = follow(api, answer["operation"])
        answer = {"sandbox": api.get(f"sandboxes/{answer['sandbox']['id']}"), "operation": operation}
        warn_of_plain_boot(answer["sandbox"])
    show_end(answer, wait, json, lambda: words(answer["sandbox"]), f"{answer['sandbox']['name']}: not waiting.")


@app.command("ls")
def list_sandboxes(
    project: Project = "",
    search: Annotated[str, typer.Option(help="A part of the name.")] = "",
    json: JsonFlag = False,
) -> None:
    """List your sandboxes, the newest first."""
    with open_api() as api:
        rows = list(api.pages("sandboxes", project=project, search=search))
    if json:
        show_json(rows)
        return
    lines = [
        [
            r["name"],
            status_of(r),
            left(r),
            r["template"]["name"],
            r["network"],
            ", ".join(r["ip_addresses"]),
            r["project"]["name"],
        ]
        for r in rows
    ]
    none = (
        "No sandbox is like that."
        if project or search
        else "You have no sandboxes. Make one: slipway sandbox new TEMPLATE"
    )
    show_table(["NAME", "STATUS", "LEFT", "TEMPLATE", "NETWORK", "ADDRESS", "PROJECT"], lines, none)


@app.command("show")
def show_sandbox(name: SandboxArgument, project: Project = "", json: JsonFlag = False) -> None:
    """Show one sandbox."""
    with open_api() as api:
        sandbox = find(api, "sandbox", name, project)
    if json:
        show_json(sandbox)
        return
    lease = sandbox["lease"]
    show_facts(
        [
            ("name", sandbox["name"]),
            ("id", sandbox["id"]),
            ("status", status_of(sandbox)),
            ("left", left(sandbox)),
            ("until", when(lease["expires_at"])),
            ("template", sandbox["template"]["name"]),
            ("network", sandbox["network"]),
            ("address", ", ".join(sandbox["ip_addresses"])),
            ("project", sandbox["project"]["name"]),
            ("booted", sandbox["plain_reason"]),
        ]
    )


def _verb(verb: str, doc: str, words: Callable[[Json], str]) -> None:
    """Make one of the commands that only name a sandbox and a verb."""

    def command(name: SandboxArgument, project: Project = "", wait: Wait = True, json: JsonFlag = False) -> None:
        with open_api() as api:
            sandbox = find(api, "sandbox", name, project)
            _finish(api, api.post(f"sandboxes/{sandbox['id']}/{verb}"), wait, json, words)

    command.__doc__ = doc
    app.command(verb)(command)


_verb(
    "reset",
    "Put a sandbox back to its clean state, with its address. What was in it is lost.",
    lambda seen: f"{seen['name']} is clean again, for {left(seen)}.",
)
_verb(
    "pause",
    "Pause a sandbox to disk. Its clock stands still.",
    lambda seen: f"{seen['name']} is paused. Go on: slipway sandbox resume {seen['name']}",
)
_verb("resume", "Let a paused sandbox go on.", lambda seen: f"{seen['name']} goes on, for {left(seen)}.")


@app.command("restore")
def restore_sandbox(
    name: SandboxArgument, lease: Lease = "", project: Project = "", wait: Wait = True, json: JsonFlag = False
) -> None:
    """Take a sandbox back whose lease has ended, before it is deleted."""
    with open_api() as api:
        sandbox = find(api, "sandbox", name, project)
        body = {"lease_minutes": minutes_of(lease)} if lease else {}
        answer = api.post(f"sandboxes/{sandbox['id']}/restore", body)
        _finish(api, answer, wait, json, lambda seen: f"{seen['name']} is back, for {left(seen)}.")


@app.command("extend")
def extend_sandbox(
    name: SandboxArgument,
    time: Annotated[str, typer.Argument(metavar="[TIME]", help="How much longer: 30m, 2h, 1d.")] = "1h",
    project: Project = "",
    json: JsonFlag = False,
) -> None:
    """Give a sandbox more time."""
    minutes = minutes_of(time)
    with open_api() as api:
        sandbox = find(api, "sandbox", name, project)
        seen = api.post(f"sandboxes/{sandbox['id']}/extend", {"minutes": minutes})
    if json:
        show_json(seen)
    else:
        print(plain(f"{seen['name']} has {left(seen)} left."))


@app.command("isolation")
def check_isolation(name: SandboxArgument, project: Project = "", json: JsonFlag = False) -> None:
    """Try from inside what a sandbox must not be able to do. Ends with 1 if any of it was possible."""
    with open_api() as api:
        sandbox = find(api, "sandbox", name, project)
        report = isolation.check(api, sandbox["id"])
    if json:
        show_json(report)
    else:
        isolation.show(report)
    isolation.judge(report)


@app.command("keep")
def keep_sandbox(name: SandboxArgument, project: Project = "", json: JsonFlag = False) -> None:
    """Turn a sandbox into an ordinary machine, which does not end."""
    with open_api() as api:
        sandbox = find(api, "sandbox", name, project)
        vm = api.post(f"sandboxes/{sandbox['id']}/keep")
    if json:
        show_json(vm)
    else:
        print(plain(f"{vm['name']} is a machine now: slipway vm show {vm['name']}"))


@app.command("rm")
def delete_sandbox(
    name: SandboxArgument, project: Project = "", yes: Yes = False, wait: Wait = True, json: JsonFlag = False
) -> None:
    """Delete a sandbox for good."""
    with open_api() as api:
        sandbox = find(api, "sandbox", name, project)
        confirm(f"Delete the sandbox {plain(sandbox['name'])} of {plain(sandbox['project']['name'])} for good?", yes)
        delete(api, f"sandboxes/{sandbox['id']}", sandbox["name"], wait=wait, json=json)
