"""What machines are made of: images and sizes."""

from collections.abc import Callable

import typer

from ..client import Json, open_api
from ..options import JsonFlag
from ..showing import amount, show_json, show_table

images = typer.Typer(help="Images that machines are made from.", no_args_is_help=True)
flavors = typer.Typer(help="Sizes of machines.", no_args_is_help=True)


def _listed(path: str, json: bool, titles: list[str], row: Callable[[Json], list[object]], empty: str) -> None:
    with open_api() as api:
        items = list(api.pages(path))
    if json:
        show_json(items)
    else:
        show_table(titles, [row(item) for item in items], empty)


@images.command("ls")
def list_images(json: JsonFlag = False) -> None:
    """List the images."""
    _listed(
        "images",
        json,
        ["NAME", "TITLE", "NEEDS", "SIZE", "USER"],
        lambda i: [
            i["name"],
            i["title"],
            f"{i['min_memory_mib']} MiB, {i['min_disk_gib']} GiB",
            amount(i["size_bytes"]),
            i["default_user"],
        ],
        "There are no images yet. Staff add them.",
    )


@flavors.command("ls")
def list_flavors(json: JsonFlag = False) -> None:
    """List the sizes."""
    _listed(
        "flavors",
        json,
        ["NAME", "VCPU", "MEMORY", "DISK"],
        lambda f: [f["name"], f["vcpus"], f"{f['memory_mib']} MiB", f"{f['disk_gib']} GiB"],
        "There are no sizes yet. Staff add them.",
    )
