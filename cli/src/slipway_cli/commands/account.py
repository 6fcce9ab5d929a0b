"""Who I am: login, logout, whoami, quota."""

import os
import sys
from typing import Annotated

import typer

from .. import login as logins
from ..asking import secret
from ..client import Api, Json, open_api
from ..faults import Code, Fault
from ..login import Login
from ..lookups import find_project
from ..options import JsonFlag
from ..showing import plain, say, show_facts, show_json, show_table

DEFAULT_URL = "http://127.0.0.1:8000"


def login(
    url: Annotated[str, typer.Option("--url", help="The portal's address. Asked for where it is not given.")] = "",
    json: JsonFlag = False,
) -> None:
    """Sign in: check an API token and keep it, readable by you alone.

    The token is asked for, or read from stdin. Tokens are made on the portal's page "API tokens".
    """
    where = logins.plain_url(url or os.environ.get("SLIPWAY_URL", "") or _asked_url())
    if logins.sends_in_clear(where):
        say(f"Careful: {where} is not encrypted. Whoever listens on the way can use your token.")
    token = secret(f"Token (made at {where}/accounts/tokens)")
    with Api(Login(where, token)) as api:
        me = api.get("me")
    path = logins.store(Login(where, token))
    if json:
        show_json({"url": where, "user": me["user"], "kept_in": str(path)})
    else:
        say(f"Signed in to {where} as {plain(me['user']['username'])}. Kept in {path}.")
    if os.environ.get("SLIPWAY_TOKEN"):
        say("SLIPWAY_TOKEN is set, and goes before what was kept.")


def _asked_url() -> str:
    kept = logins.stored()
    proposed = kept.url if kept else DEFAULT_URL
    if not sys.stdin.isatty():
        raise Fault("Which portal?", "Add --url, or set SLIPWAY_URL.", Code.USAGE)
    print(f"Portal [{proposed}]: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() or proposed


def logout(json: JsonFlag = False) -> None:
    """Forget the token that login kept. The token itself stays valid until it is revoked in the portal."""
    forgotten = logins.forget()
    if json:
        show_json({"signed_out": forgotten})
    elif forgotten:
        say("Signed out. To end the token too, revoke it on the portal's page API tokens.")
    else:
        say("You were not signed in.")


def whoami(json: JsonFlag = False) -> None:
    """Say who you are, where, and in which projects."""
    with open_api() as api:
        me = api.get("me")
    if json:
        show_json(me)
        return
    user = me["user"]
    show_facts(
        [
            ("user", user["username"]),
            ("portal", api.login.url),
            ("staff", "yes" if user["is_staff"] else ""),
            ("projects", ", ".join(f"{p['name']} ({p['role']})" for p in me["projects"])),
        ]
    )


def quota(
    project: Annotated[str, typer.Argument(help="A project, by name or id; all of yours where it is left out.")] = "",
    json: JsonFlag = False,
) -> None:
    """Show what projects may use, and what they use."""
    with open_api() as api:
        if project:
            found = find_project(api, project)
            quotas = [{"project": found["name"], **api.get(f"projects/{found['id']}/quota")}]
        else:
            quotas = [{"project": p["name"], **p} for p in api.get("me")["projects"]]
    if json:
        show_json(quotas[0] if project else quotas)
        return
    rows = [row for entry in quotas for row in _quota_rows(entry)]
    show_table(["PROJECT", "WHAT", "USED", "LIMIT", "FREE"], rows, "You belong to no project.")


def _quota_rows(entry: Json) -> list[list[object]]:
    rows: list[list[object]] = []
    for dimension, limit in entry["limits"].items():
        used = entry["usage"].get(dimension, 0)
        rows.append([entry["project"], dimension, used, *_limit(limit, used)])
    for member, limits in entry.get("member_limits", {}).items():
        rows += [
            [entry["project"], f"{dimension} of {member}", "", *_limit(limit)] for dimension, limit in limits.items()
        ]
    return rows


def _limit(limit: int | None, used: int | None = None) -> tuple[object, object]:
    if limit is None:
        return "unlimited", ""
    return limit, "" if used is None else max(0, limit - used)
