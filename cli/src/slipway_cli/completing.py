"""What the shell offers on Tab, asked from the portal. Nothing is offered where the portal does not answer soon."""

from collections.abc import Callable, Iterator

import httpx

from .client import open_api
from .faults import Fault

PATIENCE = httpx.Timeout(1.5)
AT_MOST = 100


def _names(path: str, search: str = "") -> Iterator[str]:
    with open_api(PATIENCE) as api:
        for row in api.pages(path, at_most=AT_MOST, search=search):
            yield row["name"]


def _offers(path: str, searchable: bool = False) -> Callable[[str], list[str]]:
    def offer(incomplete: str) -> list[str]:
        try:
            found = set(_names(path, incomplete if searchable else ""))
        except Fault:
            return []
        return sorted(name for name in found if name.startswith(incomplete))

    return offer


machines = _offers("vms", searchable=True)
sandboxes = _offers("sandboxes")
templates = _offers("templates")
images = _offers("images")
flavors = _offers("flavors")


def either(incomplete: str) -> list[str]:
    return machines(incomplete) + sandboxes(incomplete)


def projects(incomplete: str) -> list[str]:
    try:
        with open_api(PATIENCE) as api:
            mine = api.get("me")["projects"]
    except Fault:
        return []
    return [project["name"] for project in mine if project["name"].startswith(incomplete)]
