"""Operations: what is under way, and what was done."""

from typing import Annotated

import typer

from ..client import Json, open_api, segment
from ..following import follow
from ..lookups import find_either
from ..options import EitherArgument, JsonFlag, Project
from ..showing import say, show_facts, show_json, show_table, when

app = typer.Typer(help="Operations: what is under way, and what was done.", no_args_is_help=True)
Ref = Annotated[str, typer.Argument(metavar="ID", help="The id of an operation.")]


@app.command("ls")
def list_operations(
    name: EitherArgument,
    limit: Annotated[int, typer.Option(min=1, help="How many, the latest first.")] = 20,
    project: Project = "",
    json: JsonFlag = False,
) -> None:
    """List what was done to a machine or sandbox, the latest first."""
    with open_api() as api:
        found = find_either(api, name, project)
        rows = list(api.pages(f"vms/{found['id']}/operations", at_most=limit))
    if json:
        show_json(rows)
        return
    lines = [[r["id"], r["kind"], r["status"], r["step"], when(r["created_at"]), when(r["finished_at"])] for r in rows]
    show_table(["ID", "KIND", "STATUS", "STEP", "BEGUN", "ENDED"], lines, "Nothing was done yet.")


@app.command("show")
def show_operation(operation_id: Ref, json: JsonFlag = False) -> None:
    """Show one operation."""
    with open_api() as api:
        operation = api.get(f"operations/{segment(operation_id)}")
    if json:
        show_json(operation)
    else:
        _show(operation)


@app.command("wait")
def wait_for_operation(operation_id: Ref, json: JsonFlag = False) -> None:
    """Wait until an operation has ended. The exit code is 1 when it did not succeed."""
    with open_api() as api:
        ended = follow(api, api.get(f"operations/{segment(operation_id)}"))
    if json:
        show_json(ended)


@app.command("cancel")
def cancel_operation(operation_id: Ref, json: JsonFlag = False) -> None:
    """Ask an operation to end where it is. It says so itself once it has."""
    with open_api() as api:
        operation = api.post(f"operations/{segment(operation_id)}/cancel")["operation"]
    if json:
        show_json(operation)
    else:
        say(f"Asked it to end. Now it is {operation['status']}: slipway op show {operation_id}")


def _show(operation: Json) -> None:
    error = operation["error"] or {}
    show_facts(
        [
            ("id", operation["id"]),
            ("kind", operation["kind"]),
            ("machine", operation["vm"]["name"]),
            ("status", operation["status"]),
            ("step", f"{operation['step']} ({operation['progress']} %)" if operation["step"] else ""),
            ("attempt", operation["attempt"]),
            ("begun", when(operation["created_at"])),
            ("ended", when(operation["finished_at"])),
            ("reason", f"{error['detail']} ({error['code']})" if error else ""),
        ]
    )
