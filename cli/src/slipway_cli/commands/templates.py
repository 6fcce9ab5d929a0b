"""Templates: what sandboxes are cloned from."""

from collections import Counter

import typer

from ..client import Json, open_api, segment
from ..following import follow
from ..options import JsonFlag, Template, Wait
from ..showing import amount, plain, say, show_facts, show_json, show_table, since, size, span

app = typer.Typer(help="Templates that sandboxes are cloned from.", no_args_is_help=True)


@app.command("ls")
def list_templates(json: JsonFlag = False) -> None:
    """List the templates: everybody's, and those of your projects."""
    with open_api() as api:
        rows = list(api.pages("templates"))
    if json:
        show_json(rows)
        return
    lines = [
        [r["name"], state_of(r), r["image"]["name"], size(r), r["network"], _age(r), _stored(r), _owner(r)]
        for r in rows
    ]
    titles = ["NAME", "STATE", "IMAGE", "SIZE", "NETWORK", "AGE", "STORED", "OF"]
    show_table(titles, lines, "There are no templates yet. Staff make those of everybody.")


def state_of(template: Json) -> str:
    """Say in a word or two what can be cloned: ready, preparing, failed, outdated, not prepared."""
    builds = template["builds"]
    if fitting := [build for build in builds if build["fits"]]:
        waiting = sum(build["waiting"] for build in fitting)
        return f"ready ({waiting} waiting)" if waiting else "ready"
    found = Counter(build["status"] for build in builds)
    if found["building"]:
        return "preparing"
    if found["failed"]:
        return "failed"
    return "outdated" if found["ready"] else "not prepared"


def _newest(template: Json) -> Json | None:
    return next((build for build in template["builds"] if build["fits"]), None)


def _age(template: Json) -> str:
    build = _newest(template)
    return since(build["frozen_at"]) if build else ""


def _stored(template: Json) -> str:
    build = _newest(template)
    return amount(build["size_bytes"]) if build else ""


def _owner(template: Json) -> str:
    return template["project"]["name"] if template["project"] else "everybody"


@app.command("show")
def show_template(name: Template, json: JsonFlag = False) -> None:
    """Show one template, and how it is on each node."""
    with open_api() as api:
        template = api.get(f"templates/{segment(name)}")
    if json:
        show_json(template)
        return
    idle = template["idle_minutes"]
    show_facts(
        [
            ("name", template["name"]),
            ("id", template["id"]),
            ("state", state_of(template)),
            ("description", template["description"]),
            ("of", _owner(template)),
            ("image", template["image"]["name"]),
            ("size", f"{size(template)} ({template['flavor']['name']})"),
            ("network", template["network"]),
            ("lease", span(60 * template["lease_minutes"])),
            ("paused when idle", span(60 * idle) if idle else "never"),
            ("memory pages", "shared between clones" if template["share_ram"] else "each clone its own"),
            ("waiting clones", f"{template['pool_size']} on each node"),
            ("ready script", "yes" if template["ready_script"] else ""),
        ]
    )
    for build in template["builds"]:
        print(plain(f"on {build['node']['name']}: {_build(build)}"))


def _build(build: Json) -> str:
    state = build["status"] if build["fits"] or build["status"] != "ready" else "ready, but no longer fits this node"
    said = ": ".join(text for text in (build["detail"] or build["reason"], build["output"][-200:].strip()) if text)
    return f"{state}{', ' + amount(build['size_bytes']) if build['size_bytes'] else ''}{'. ' + said if said else ''}"


@app.command("prepare")
def prepare_template(name: Template, wait: Wait = True, json: JsonFlag = False) -> None:
    """Boot a template once on every node and freeze it there. Sandboxes of the old one live on."""
    with open_api() as api:
        answer = api.post(f"templates/{segment(name)}/prepare")
        if wait:
            ended = [follow(api, operation) for operation in answer["operations"]]
            answer = {"template": api.get(f"templates/{answer['template']['id']}"), "operations": ended}
    if json:
        show_json(answer)
    elif wait:
        print(plain(f"{answer['template']['name']} is {state_of(answer['template'])}."))
    else:
        for operation in answer["operations"]:
            say(f"Not waiting. Look at it: slipway op show {operation['id']}")
