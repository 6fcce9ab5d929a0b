"""Things by name or id."""

import difflib
from uuid import UUID

from .client import Api, Json
from .faults import Code, Fault, not_found

PATHS = {"machine": "vms", "sandbox": "sandboxes"}
LISTS = {"machine": "slipway vm ls", "sandbox": "slipway sandbox ls"}


def is_id(ref: str) -> bool:
    try:
        return str(UUID(ref)) == ref.lower()
    except ValueError:
        return False


def find(api: Api, noun: str, ref: str, project: str = "") -> Json:
    """Return the machine or sandbox of this id or exact name; Fault for none, or several."""
    path = PATHS[noun]
    if is_id(ref):
        try:
            return api.get(f"{path}/{ref}")
        except Fault as fault:
            if fault.code != Code.NOT_FOUND:
                raise
            raise Fault(f"There is no {noun} with the id {ref} that you may see.", code=Code.NOT_FOUND) from None
    close = list(api.pages(path, search=ref, project=project))
    same = [row for row in close if row["name"] == ref]
    if not same:
        near = difflib.get_close_matches(ref, {row["name"] for row in close or api.pages(path, at_most=100)})
        meant = f"Did you mean {' or '.join(near)}? " if near else ""
        raise not_found(noun, ref, f"{meant}{LISTS[noun]} shows those that there are.")
    if len(same) > 1:
        projects = sorted({row["project"]["name"] for row in same})
        raise Fault(
            f"There are {len(same)} of the name {ref}, in the projects {', '.join(projects)}.",
            f"Add --project {projects[0]}, or give the id.",
            Code.USAGE,
        )
    return same[0]


def find_either(api: Api, ref: str, project: str = "") -> Json:
    """Return a machine, or else a sandbox: both have consoles and a port 22."""
    try:
        return find(api, "machine", ref, project)
    except Fault as fault:
        if fault.code != Code.NOT_FOUND:
            raise
        try:
            return find(api, "sandbox", ref, project)
        except Fault as other:
            raise (fault if other.code == Code.NOT_FOUND else other) from None


def find_project(api: Api, ref: str) -> Json:
    """Return the project of this id or name, of those that the caller belongs to."""
    projects: list[Json] = api.get("me")["projects"]
    for project in projects:
        if ref in (project["id"], project["name"]):
            return project
    if is_id(ref):
        return {"id": ref, "name": ref}  # staff see all of them
    names = ", ".join(project["name"] for project in projects)
    raise not_found("project", ref, f"You belong to: {names}.")
