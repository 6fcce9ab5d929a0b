"""The `slipway` command, put together."""

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from .commands import account, catalogue, consoles, operations, running, sandboxes, templates, vms
from .faults import Code, Fault
from .showing import plain, say

app = typer.Typer(
    name="slipway",
    help="Machines and sandboxes of a Slipway portal. It uses SLIPWAY_URL and SLIPWAY_TOKEN, or what login kept.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(account.login)
app.command()(account.logout)
app.command()(account.whoami)
app.command()(account.quota)
app.command()(running.run)
app.command("cp")(running.copy)
app.command("tunnel")(consoles.open_tunnel)
vms.app.command("console")(consoles.vm_console)
vms.app.command("ssh")(consoles.vm_ssh)
sandboxes.app.command("exec")(running.exec_in_sandbox)
sandboxes.app.command("console")(consoles.sandbox_console)
sandboxes.app.command("ssh")(consoles.sandbox_ssh)
app.add_typer(vms.app, name="vm")
app.add_typer(sandboxes.app, name="sandbox")
app.add_typer(templates.app, name="template")
app.add_typer(catalogue.images, name="image")
app.add_typer(catalogue.flavors, name="flavor")
app.add_typer(operations.app, name="op")


def _show_version(wanted: bool) -> None:
    if not wanted:
        return
    try:
        print(version("slipway-cli"))
    except PackageNotFoundError:
        print("not installed")
    raise typer.Exit


@app.callback()
def slipway(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Say nothing: this is where options of the whole command are."""


def main() -> None:
    """Run the command line of this process; the only place where faults become exit codes."""
    try:
        app(prog_name="slipway")
    except Fault as fault:
        say(f"slipway: {_lines(fault.sentence)}")
        if fault.hint:
            say(_lines(fault.hint))
        sys.exit(fault.code)
    except KeyboardInterrupt:
        sys.exit(Code.INTERRUPTED)


def _lines(text: str) -> str:
    return "\n".join(plain(line) for line in text.splitlines())
