"""Commands and files: run, sandbox exec, cp."""

import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ..client import Api, Json, open_api
from ..durations import seconds_of
from ..faults import Code, Fault
from ..following import follow
from ..lookups import find
from ..options import JsonFlag, Project, SandboxArgument, Template
from ..runs import Collected, Stopped, exit_code, follow_run, stoppable, to_terminal, undisturbed
from ..showing import plain, say, show_json
from ..transfers import Remote, checked, download, landing, parse, upload
from .sandboxes import Lease, Network, asked, warn_of_plain_boot

SPARE_MINUTES = 5  # of lease, beyond a command's time limit
STDIN_BYTES = 512 * 1024
Argv = Annotated[list[str], typer.Argument(metavar="COMMAND", help="What to run, with its arguments, after --.")]
Env = Annotated[list[str], typer.Option("--env", "-e", help="NAME=VALUE for the command; may be repeated.")]
Cwd = Annotated[str, typer.Option("--cwd", "-w", help="The folder of the guest to run it in.")]
Timeout = Annotated[str, typer.Option("--timeout", "-t", help="Its time limit: 30s, 10m, 2h; seconds without a unit.")]
Stdin = Annotated[bool, typer.Option("--stdin", "-i", help="Hand it what comes on our stdin, at most 512 KiB of text.")]


def run(
    template: Template,
    command: Argv,
    *,
    file: Annotated[
        list[str],
        typer.Option("--file", "-f", help="LOCAL:REMOTE, put in beforehand: a file or folder; may be repeated."),
    ] = [],  # noqa: B006
    env: Env = [],  # noqa: B006
    cwd: Cwd = "",
    timeout: Timeout = "",
    stdin: Stdin = False,
    lease: Lease = "",
    network: Network = "",
    project: Project = "",
    no_rm: Annotated[bool, typer.Option("--no-rm", help="Leave the sandbox there afterwards.")] = False,
    json: JsonFlag = False,
) -> None:
    """Run a command in a new sandbox.

    What it writes is streamed, its exit code is ours, and the sandbox is removed. Ctrl-C ends the command and removes
    the sandbox, too. Exit codes of our own: 124 the time limit, 125 it did not run.
    """
    files = [_file(pair) for pair in file]
    body = _wanted(command, env, cwd, timeout, stdin)
    if timeout and not lease:
        lease = f"{body['timeout_seconds'] // 60 + SPARE_MINUTES}m"
    new = asked(template, name=f"run-{secrets.token_hex(3)}", lease=lease, network=network, project=project)
    with open_api() as api:
        code = _in_new_sandbox(api, new, no_rm, lambda sandbox: _prepared_and_run(api, sandbox, files, body, json))
    raise typer.Exit(code)


def _in_new_sandbox(api: Api, new: Json, no_rm: bool, work: Callable[[Json], int]) -> int:
    """Make a sandbox, work in it, and remove it, whatever happens; return an exit code."""
    created: Json | None = None
    with stoppable() as deaf:
        try:
            with undisturbed():  # or it would be there without our knowing
                created = api.post("sandboxes", new)
            return work(created)
        except Stopped as stopped:
            say("slipway: Stopped.")
            return stopped.code
        except Fault as fault:
            raise Fault(fault.sentence, fault.hint, _not_run(fault.code), fault.slug) from None
        finally:
            deaf()
            if created is not None:
                _leave(api, created["sandbox"], no_rm)


def _not_run(code: int) -> int:
    """Return the exit code of a run that never was: what says more is kept."""
    return code if code in (Code.USAGE, Code.NOT_SIGNED_IN) else Code.NOT_RUN


def _leave(api: Api, sandbox: Json, no_rm: bool) -> None:
    name = plain(sandbox["name"])
    if no_rm:
        say(f"slipway: {name} is still there: slipway sandbox show {name}")
        return
    try:
        api.delete(f"sandboxes/{sandbox['id']}")
    except Fault as fault:
        say(f"slipway: {name} could not be removed: {plain(fault.sentence)} Its lease ends it.")


def _prepared_and_run(api: Api, created: Json, files: list[tuple[Path, str]], body: Json, json: bool) -> int:
    sandbox = created["sandbox"]
    if files:  # they must be there before the command is
        follow(api, created["operation"], quiet=True)
        for source, target in files:
            upload(api, sandbox["id"], source, target)
        begun = _begin(api, sandbox, body)
    else:  # it begins by itself as soon as the sandbox is there
        begun = _begin(api, sandbox, body)
        follow(api, created["operation"], quiet=True)
    if created["operation"]["kind"] == "create":
        warn_of_plain_boot(sandbox)
    return _followed(api, begun, json)


def _begin(api: Api, sandbox: Json, body: Json) -> Json:
    return api.post(f"sandboxes/{sandbox['id']}/runs", body)


def _begin_whole(api: Api, sandbox: Json, body: Json) -> Json:
    """Begin it and know of it, or kill it: a signal that came meanwhile must not leave it running."""
    begun: Json | None = None
    try:
        with undisturbed():
            begun = _begin(api, sandbox, body)
    except Stopped:
        if begun is not None:
            _kill(api, begun)
        raise
    return begun


def _followed(api: Api, begun: Json, json: bool) -> int:
    """Stream a command to its end; a signal kills it. Return its exit code."""
    collected = Collected()
    try:
        ended = follow_run(api, begun["id"], collected if json else to_terminal)
    except BaseException as error:
        if not isinstance(error, Fault):
            _kill(api, begun)
        raise
    if json:
        out, err = (bytes(text).decode(errors="replace") for text in (collected.stdout, collected.stderr))
        show_json({"run": ended, "stdout": out, "stderr": err})
    return exit_code(ended)


def _kill(api: Api, begun: Json) -> None:
    try:
        api.post(f"runs/{begun['id']}/kill")
    except Fault as fault:
        say(f"slipway: The command could not be killed: {plain(fault.sentence)}")


def _wanted(command: list[str], env: list[str], cwd: str, timeout: str, stdin: bool) -> dict[str, Any]:
    """Return the body that asks for a run."""
    body: dict[str, Any] = {"argv": command}
    if env:
        body["env"] = dict(_pair(text) for text in env)
    if cwd:
        body["cwd"] = checked(cwd)
    if timeout:
        body["timeout_seconds"] = seconds_of(timeout, "s")
    if stdin:
        body["stdin"] = _stdin()
    return body


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise Fault(f"{text!r} is no variable.", "Write --env NAME=VALUE.", Code.USAGE)
    return name, value


def _stdin() -> str:
    data = sys.stdin.buffer.read(STDIN_BYTES + 1)
    try:
        if len(data) <= STDIN_BYTES and b"\0" not in data:
            return data.decode()
    except UnicodeDecodeError:
        pass
    raise Fault("What comes on stdin is too long, or no text.", "Put it in as a file: --file LOCAL:/path.", Code.USAGE)


def _file(text: str) -> tuple[Path, str]:
    local, colon, remote = text.rpartition(":")
    if not colon or not local:
        raise Fault(f"{text!r} is not LOCAL:REMOTE.", "Like --file script.sh:/tmp/script.sh", Code.USAGE)
    path = Path(local).expanduser()
    if not path.exists():
        raise Fault(f"There is no {path} here.", code=Code.USAGE)
    return path, checked(remote)


def exec_in_sandbox(
    name: SandboxArgument,
    command: Argv,
    *,
    env: Env = [],  # noqa: B006
    cwd: Cwd = "",
    timeout: Timeout = "",
    stdin: Stdin = False,
    project: Project = "",
    json: JsonFlag = False,
) -> None:
    """Run a command in a sandbox.

    What it writes is streamed, and its exit code is ours. Ctrl-C kills it.
    """
    body = _wanted(command, env, cwd, timeout, stdin)
    with open_api() as api, stoppable():
        try:
            code = _followed(api, _begin_whole(api, find(api, "sandbox", name, project), body), json)
        except Stopped as stopped:
            say("slipway: Stopped.")
            code = stopped.code
        except Fault as fault:
            raise Fault(fault.sentence, fault.hint, _not_run(fault.code), fault.slug) from None
    raise typer.Exit(code)


def copy(
    source: Annotated[str, typer.Argument(help="A local path, or NAME:/path.")],
    target: Annotated[str, typer.Argument(help="NAME:/path, or a local path.")],
    project: Project = "",
    json: JsonFlag = False,
) -> None:
    """Copy a file or folder into a sandbox or out of it; no network is needed.

    Of a folder the content is copied, into the folder that is named. A target that ends with a slash is a folder to
    put it in.
    """
    here, there = parse(source), parse(target)
    with open_api() as api:
        if isinstance(here, Path) and isinstance(there, Remote):
            sandbox = find(api, "sandbox", there.sandbox, project)
            count = upload(api, sandbox["id"], here, there.path)
            said: Json = {"path": landing(here, there.path), "bytes": count}
            sentence = f"{count} bytes."
        elif isinstance(here, Remote) and isinstance(there, Path):
            sandbox = find(api, "sandbox", here.sandbox, project)
            written = download(api, sandbox["id"], here.path, there)
            said = {"path": here.path, "written_to": str(written)}
            sentence = f"Written to {written}."
        else:
            raise Fault(
                "One side is a local path, the other NAME:/path.", "Like: slipway cp notes.txt box:/tmp/", Code.USAGE
            )
    if json:
        show_json({"sandbox": {"id": sandbox["id"], "name": sandbox["name"]}, **said})
    else:
        say(sentence)
