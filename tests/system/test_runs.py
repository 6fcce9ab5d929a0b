"""Commands and files in a real guest, through the REST API, the gateway and the runner that the image brings."""

import base64
import hashlib
import io
import json
import random
import secrets
import tarfile
import time
from urllib.parse import quote

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.live import Api, Live, wait_for

pytestmark = pytest.mark.timeout(600)  # the first test waits until the template is prepared
MIB = 2**20
LIVE = ("pending", "running")


@pytest.fixture(scope="module")
def template(alice):
    """The demo's template, prepared."""

    def ready():
        found = alice.call("GET", "templates")["items"]
        return next((one for one in found if one["name"] == "micro" and _is_ready(one)), None)

    return wait_for(ready, 300, "the template is not prepared")


def _is_ready(template):
    return any(build["status"] == "ready" for build in template["builds"])


@pytest.fixture(scope="module")
def sandbox(alice, template):
    answer = alice.call("POST", "sandboxes", {"template": "micro", "project": "harbor", "network": "none"}, status=202)
    assert alice.finished(answer["operation"])["status"] == "succeeded"
    yield answer["sandbox"]
    alice.http.delete(f"sandboxes/{answer['sandbox']['id']}")


def begin(api: Api, box, command="", **asked):
    return api.call("POST", f"sandboxes/{box['id']}/runs", {"command": command, **asked}, status=201)


def ended(api: Api, run, seconds=60):
    def look():
        found = api.call("GET", f"runs/{run['id']}")
        return found if found["status"] not in LIVE else None

    return wait_for(look, seconds, "the run has not ended")


def said(api: Api, run, stream="stdout", offset=0):
    answer = api.http.get(f"runs/{run['id']}/output", params={"stream": stream, "offset": offset})
    assert answer.status_code == 200, answer.text
    return answer.content


def events(api: Api, run):
    """Yield (event, content) until the end."""
    with api.http.stream("GET", f"runs/{run['id']}/events", timeout=60) as answer:
        assert answer.status_code == 200
        name = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))


def put(api: Api, box, path, data, **query):
    query = "".join(f"&{name}={value}" for name, value in query.items())
    return api.http.put(f"sandboxes/{box['id']}/files?path={quote(path, safe='')}{query}", content=data, timeout=120)


def get(api: Api, box, path):
    return api.http.get(f"sandboxes/{box['id']}/files?path={quote(path, safe='')}", timeout=120)


def test_a_command_with_all_that_it_may_have(alice, sandbox):
    command = 'id -un; pwd; echo "$GREETING"; cat; echo oops >&2; exit 7'
    run = begin(alice, sandbox, command, env={"GREETING": "caf\u00e9"}, cwd="/tmp", stdin="typed\n")
    assert (ended(alice, run)["status"], ended(alice, run)["exit_code"]) == ("exited", 7)
    assert said(alice, run).decode() == "slipway\n/tmp\ncaf\u00e9\ntyped\n"
    assert said(alice, run, "stderr") == b"oops\n"
    assert said(alice, run, offset=8) == b"/tmp\ncaf\xc3\xa9\ntyped\n"


def test_output_comes_while_it_runs(alice, sandbox):
    run = begin(alice, sandbox, "for n in 1 2 3; do echo $n; sleep 1; done; exit 4")
    arrived, out = [], b""
    for name, content in events(alice, run):
        if name == "output":
            out += base64.b64decode(content["data"])
            arrived.append(time.monotonic())
    assert (out, name, content["status"], content["exit_code"]) == (b"1\n2\n3\n", "end", "exited", 4)
    assert arrived[-1] - arrived[0] > 1, "not all of it at the end"


def test_a_command_is_killed_and_one_has_its_time(alice, sandbox):
    run = begin(alice, sandbox, "echo ready; sleep 1000 & sleep 1000")
    wait_for(lambda: said(alice, run) == b"ready\n", 30, "it has not begun")
    alice.call("POST", f"runs/{run['id']}/kill", {}, status=202)
    limited = begin(alice, sandbox, "exec sleep 1000", timeout_seconds=1)
    assert ended(alice, run)["status"] == "killed"
    assert ended(alice, limited)["status"] == "timed_out"
    left = begin(alice, sandbox, "ps | grep -c '[s]leep 1000'")
    ended(alice, left)
    assert said(alice, left) == b"0\n"


def test_a_flood_is_cut_off_and_holds_up_nobody_A18(alice, sandbox):
    flood = begin(alice, sandbox, "yes")
    wait_for(lambda: said(alice, flood), 30, "it has not begun")
    other = begin(alice, sandbox, "echo here")
    assert ended(alice, other)["status"] == "exited"
    assert alice.call("GET", f"runs/{flood['id']}")["status"] == "running"
    wait_for(lambda: said(alice, flood, offset=4 * MIB - 10), 120, "4 MiB have not come")
    alice.call("POST", f"runs/{flood['id']}/kill", {}, status=202)
    found = ended(alice, flood)
    assert found["stdout_truncated"]
    assert found["stdout_bytes"] > 4 * MIB
    assert len(said(alice, flood, offset=4 * MIB - 10)) == 10


def test_a_file_there_and_back_and_no_more_than_the_cap(alice, sandbox):
    data = random.Random(6).randbytes(20 * MIB)
    assert put(alice, sandbox, "/home/slipway/new/data.bin", data, mode="600").json() == {"bytes": len(data)}
    run = begin(alice, sandbox, "sha256sum new/data.bin; stat -c '%a %U' new/data.bin")
    ended(alice, run)
    assert said(alice, run).decode().split()[0] == hashlib.sha256(data).hexdigest()
    assert said(alice, run).decode().split()[-2:] == ["600", "slipway"]
    back = get(alice, sandbox, "/home/slipway/new/data.bin")
    assert (back.status_code, back.headers["X-Slipway-Kind"], back.content == data) == (200, "file", True)
    assert put(alice, sandbox, "/tmp/large", iter([bytes(MIB)] * 300)).status_code == 413
    fill = begin(alice, sandbox, "truncate -s 300M /tmp/large")
    ended(alice, fill)
    assert get(alice, sandbox, "/tmp/large").status_code == 413


def test_a_folder_there_and_back(alice, sandbox):
    files = {f"{'d/' * depth}f{depth}": random.Random(depth).randbytes(100_000) for depth in range(4)}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755
            tar.addfile(member, io.BytesIO(data))
    assert put(alice, sandbox, "/tmp/tree", out.getvalue(), kind="folder").is_success
    back = get(alice, sandbox, "/tmp/tree")
    assert back.headers["X-Slipway-Kind"] == "folder"
    with tarfile.open(fileobj=io.BytesIO(back.content)) as tar:
        found = {m.name.removeprefix("./"): tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}
    assert found == files


def test_paths_that_are_refused_A12(alice, sandbox):
    for path in ("relative", "../etc/passwd", "/tmp/../etc/passwd", "/tmp/a\0b", "/" + "x" * 300):
        assert get(alice, sandbox, path).status_code == 422, path
        assert put(alice, sandbox, path, b"x").status_code == 422, path
    assert get(alice, sandbox, "/no/such/file").status_code == 404
    assert get(alice, sandbox, "/dev/zero").status_code == 409
    assert put(alice, sandbox, "/etc/of-root", b"x").status_code == 409


def test_a_stranger_sees_nothing_of_it_A4(live: Live, alice, sandbox):
    run = begin(alice, sandbox, "echo secret")
    ended(alice, run)
    with live.api("charlie") as charlie:
        for answer in (
            charlie.http.get(f"runs/{run['id']}"),
            charlie.http.get(f"runs/{run['id']}/output"),
            charlie.http.get(f"runs/{run['id']}/events"),
            charlie.http.post(f"runs/{run['id']}/kill", json={}),
            get(charlie, sandbox, "/etc/hostname"),
            put(charlie, sandbox, "/tmp/x", b"x"),
        ):
            assert answer.status_code == 404
            assert b"secret" not in answer.content


def test_many_at_once_each_get_their_own(alice, sandbox):
    runs = [begin(alice, sandbox, f"cat; echo {number}", stdin=f"in {number}\n") for number in range(20)]
    for number, run in enumerate(runs):
        assert ended(alice, run)["status"] == "exited"
        assert said(alice, run) == f"in {number}\n{number}\n".encode()


def test_a_reset_ends_what_runs_and_the_new_guest_knows_nothing_of_it(alice, template):
    answer = alice.call("POST", "sandboxes", {"template": "micro", "project": "harbor"}, status=202)
    assert alice.finished(answer["operation"])["status"] == "succeeded"
    box = answer["sandbox"]
    try:
        run = begin(alice, box, "echo begun; touch /tmp/mark; sleep 1000")
        wait_for(lambda: said(alice, run), 30, "it has not begun")
        reset = alice.call("POST", f"sandboxes/{box['id']}/reset", {}, status=202)
        assert alice.finished(reset["operation"])["status"] == "succeeded"
        found = ended(alice, run)
        assert (found["status"], found["error"]["code"]) == ("lost", "reset")
        assert said(alice, run) == b"begun\n"
        again = begin(alice, box, "ls /tmp; ps | grep -c '[s]leep 1000'")
        ended(alice, again)
        assert said(alice, again) == b"0\n"
    finally:
        alice.http.delete(f"sandboxes/{box['id']}")


def test_ssh_through_the_gateway_reaches_the_machines_own_server(alice):
    vm = alice.create(f"ssh-{secrets.token_hex(3)}", project="harbor")
    try:

        def greeting():
            issued = alice.call("POST", f"vms/{vm['id']}/console", {"kind": "ssh"}, status=201)
            with connect(issued["url"], subprotocols=issued["protocols"], proxy=None) as tunnel:
                try:
                    return tunnel.recv(timeout=20)
                except ConnectionClosed:  # closed with 4504: its address or its server is not there yet
                    return None

        assert wait_for(greeting, 120, "no SSH server answers").startswith(b"SSH-2.0-")
    finally:
        alice.delete(vm["id"])
