"""Commands in sandboxes: what is streamed, which exit code comes out, and what is left behind: nothing."""

import io
import os
import signal
import tarfile

import httpx
import pytest
from cli_world import END, RUN, events, operation, output, problem, vm

BOX = {**vm("run-1"), "template": {"id": "t-1", "name": "debian"}, "plain_reason": ""}
HERE = f"sandboxes/{BOX['id']}"


@pytest.fixture
def guest(portal):
    """Return a portal whose sandbox is there at once and whose command says nothing and succeeds."""
    portal.on("POST", "sandboxes", {"sandbox": BOX, "operation": operation("claim", "succeeded")})
    portal.on("DELETE", HERE, {"operation": operation("delete")})
    portal.on("POST", f"{HERE}/runs", httpx.Response(201, json={**RUN, "status": "running"}))
    portal.on("GET", "runs/r-1/events", events(END))
    portal.on("GET", "runs/r-1", RUN)
    portal.on("POST", "runs/r-1/kill", RUN)
    portal.items("sandboxes", BOX)
    return portal


def calls(portal):
    return [f"{request.method} {request.url.path.removeprefix('/api/v1/')}" for request in portal.asked]


def test_run_creates_streams_and_removes(guest, slipway):
    guest.on(
        "GET",
        "runs/r-1/events",
        events(b":\n\n", output(b"hello "), output(b"oops", 0, "stderr"), output(b"you", 6), END),
    )
    answer = slipway("run", "debian", "--", "sh", "-c", "echo hello you")
    assert (answer.code, answer.out, answer.err) == (0, "hello you", "oops")
    assert calls(guest)[0] == "POST sandboxes"
    assert calls(guest)[-1] == f"DELETE {HERE}"
    assert guest.bodies("POST", f"{HERE}/runs") == [{"argv": ["sh", "-c", "echo hello you"]}]


@pytest.mark.parametrize(
    ("ended", "code", "said"),
    [
        ({"exit_code": 7}, 7, ""),
        ({"exit_code": 139, "signal": 11}, 139, ""),
        ({"status": "timed_out", "exit_code": None, "timeout_seconds": 5}, 124, "its time limit is 5 s"),
        ({"status": "killed", "exit_code": None}, 137, "was killed"),
        ({"status": "lost", "exit_code": None}, 125, "its sandbox went away"),
        (
            {"status": "failed", "exit_code": None, "error": {"code": "x", "detail": "No such program."}},
            125,
            "No such program.",
        ),
        ({"stdout_truncated": True, "stdout_bytes": 9}, 0, "stdout was cut: of 9 bytes"),
    ],
)
def test_exit_codes(guest, slipway, ended, code, said):
    guest.on("GET", "runs/r-1", {**RUN, **ended})
    answer = slipway("run", "debian", "--", "false")
    assert answer.code == code
    assert said in answer.err
    assert calls(guest)[-1] == f"DELETE {HERE}"


def test_a_stream_that_breaks_goes_on_where_it_was(guest, slipway):
    def second(request):
        assert request.url.params["stdout"] == "4"
        return events(output(b"two", 4), END)

    guest.on("GET", "runs/r-1/events", [events(output(b"one\n")), httpx.ReadError("gone"), second])
    assert slipway("run", "debian", "--", "count").out == "one\ntwo"


def test_files_are_there_before_the_command_begins(guest, slipway, tmp_path):
    (tmp_path / "go.sh").write_text("echo go")
    (tmp_path / "go.sh").chmod(0o755)
    guest.on("PUT", f"{HERE}/files", {"bytes": 7})
    assert slipway("run", "debian", "--file", f"{tmp_path}/go.sh:/tmp/go.sh", "--", "/tmp/go.sh").code == 0
    sequence = calls(guest)
    assert sequence.index(f"PUT {HERE}/files") < sequence.index(f"POST {HERE}/runs")
    put = next(request for request in guest.asked if request.method == "PUT")
    assert dict(put.url.params) == {"path": "/tmp/go.sh", "kind": "file", "mode": "755"}
    assert put.content == b"echo go"


def test_what_a_command_is_given(guest, slipway, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("grüße".encode())))
    slipway("run", "debian", "-i", "-e", "A=b=c", "-w", "/tmp", "-t", "2m", "-n", "none", "--", "cat", "-A")
    wanted = {"argv": ["cat", "-A"], "env": {"A": "b=c"}, "cwd": "/tmp", "timeout_seconds": 120, "stdin": "grüße"}
    assert guest.bodies("POST", f"{HERE}/runs") == [wanted]
    (asked,) = guest.bodies("POST", "sandboxes")
    assert asked.pop("name").startswith("run-")
    assert asked == {"template": "debian", "network": "none", "lease_minutes": 7}


def test_json_is_one_object_at_the_end(guest, slipway):
    guest.on("GET", "runs/r-1/events", events(output(b"\xffout"), output(b"err", 0, "stderr"), END))
    answer = slipway("run", "debian", "--json", "--", "x")
    assert answer.json == {"run": RUN, "stdout": "\ufffdout", "stderr": "err"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_kills_the_command_and_removes_the_sandbox(guest, slipway, number):
    def interrupted(_request):
        os.kill(os.getpid(), number)
        return events(END)

    guest.on("GET", "runs/r-1/events", interrupted)
    before = signal.getsignal(number)
    answer = slipway("run", "debian", "--", "sleep", "inf")
    assert answer.code == 128 + number
    assert calls(guest)[-2:] == ["POST runs/r-1/kill", f"DELETE {HERE}"]
    assert signal.getsignal(number) == before


def test_a_signal_while_the_sandbox_is_asked_for_leaves_none_behind(guest, slipway):
    def interrupted(_request):
        os.kill(os.getpid(), signal.SIGINT)
        return httpx.Response(202, json={"sandbox": BOX, "operation": operation("clone")})

    guest.on("POST", "sandboxes", interrupted)
    assert slipway("run", "debian", "--", "x").code == 130
    assert calls(guest) == ["POST sandboxes", f"DELETE {HERE}"]


def test_a_sandbox_that_cannot_be_made(guest, slipway):
    guest.on(
        "POST", "sandboxes", problem(422, "invalid", "Check it.", fields={"template": ["There is no such template."]})
    )
    answer = slipway("run", "nope", "--", "x")
    assert answer.code == 125
    assert "There is no such template." in answer.err
    assert calls(guest) == ["POST sandboxes"]


def test_a_clone_that_fails_is_removed_too(guest, slipway):
    failed = operation("clone", "failed", step="cloned", error={"code": "no_space", "detail": "The disk is full."})
    guest.on("POST", "sandboxes", {"sandbox": BOX, "operation": failed})
    answer = slipway("run", "debian", "--", "x")
    assert answer.code == 125
    assert "The disk is full." in answer.err
    assert calls(guest)[-1] == f"DELETE {HERE}"


def test_a_sandbox_that_cannot_be_removed_is_named(guest, slipway):
    guest.on("DELETE", HERE, problem(503, "unavailable", "Later."))
    answer = slipway("run", "debian", "--", "x")
    assert answer.code == 0
    assert "run-1 could not be removed: Later." in answer.err


def test_no_rm_leaves_it(guest, slipway):
    assert "run-1 is still there" in slipway("run", "debian", "--no-rm", "--", "x").err
    assert f"DELETE {HERE}" not in calls(guest)


def test_exec_in_a_sandbox_leaves_the_sandbox(guest, slipway):
    guest.on("GET", "runs/r-1", {**RUN, "exit_code": 3})
    guest.on("GET", "runs/r-1/events", events(output(b"hi"), END))
    answer = slipway("sandbox", "exec", "run-1", "--", "x")
    assert (answer.code, answer.out) == (3, "hi")
    assert f"DELETE {HERE}" not in calls(guest)


@pytest.mark.parametrize(
    "wrong",
    [
        ["--file", "nothing-here:/tmp/x"],
        ["--file", "README"],
        ["--env", "A"],
        ["--timeout", "soon"],
        ["--cwd", "tmp"],
        ["--file", "/etc/hostname:relative"],
    ],
)
def test_what_is_wrong_is_said_before_anything_is_made(guest, slipway, wrong):
    assert slipway("run", "debian", *wrong, "--", "x").code == 2
    assert guest.asked == []


def test_stdin_that_is_too_long_or_no_text(guest, slipway, monkeypatch):
    for content in (b"x" * (512 * 1024 + 1), b"\xff\xfe", b"a\0b"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert slipway("run", "debian", "-i", "--", "x").code == 2
    assert guest.asked == []


# --- cp ---------------------------------------------------------------------------------------------------------
def tar_of(*members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def member(name, kind=tarfile.REGTYPE, mode=0o644, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname = kind, mode, link
    return info


def got(kind, content):
    return httpx.Response(200, content=content, headers={"x-slipway-kind": kind})


def test_a_file_out(guest, slipway, tmp_path):
    guest.on("GET", f"{HERE}/files", got("file", b"\x00data"))
    assert slipway("cp", "run-1:/var/log/x.log", str(tmp_path)).code == 0
    assert (tmp_path / "x.log").read_bytes() == b"\x00data"
    assert slipway("cp", "run-1:/var/log/x.log", str(tmp_path / "y")).code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.log", "y"]


def test_a_folder_out(guest, slipway, tmp_path):
    tar = tar_of((member("./", tarfile.DIRTYPE), b""), (member("./a/b.sh", mode=0o4755), b"#!"), (member("./c"), b"c"))
    guest.on("GET", f"{HERE}/files", got("folder", tar))
    assert slipway("cp", "run-1:/srv/data", str(tmp_path)).code == 0
    assert (tmp_path / "data" / "a" / "b.sh").read_bytes() == b"#!"
    assert (tmp_path / "data" / "a" / "b.sh").stat().st_mode & 0o7777 == 0o755 & ~_umask()


def _umask():
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def test_nothing_that_a_guest_sends_leaves_the_target(guest, slipway, tmp_path):
    target = tmp_path / "deep" / "target"
    target.parent.mkdir()
    evil = tar_of(
        (member("../out"), b"1"),
        (member(str(tmp_path / "absolute")), b"2"),
        (member("door", tarfile.SYMTYPE, link=str(tmp_path)), b""),
        (member("door/through"), b"3"),
        (member("hard", tarfile.LNKTYPE, link="/etc/passwd"), b""),
        (member("pipe", tarfile.FIFOTYPE), b""),
        (member("fine"), b"4"),
    )
    guest.on("GET", f"{HERE}/files", got("folder", evil))
    answer = slipway("cp", "run-1:/x", str(target))
    assert answer.code == 0
    assert "Left out" in answer.err
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["deep/target/door/through", "deep/target/fine"]


def test_a_file_with_holes_fills_nobodys_disk(guest, slipway, tmp_path):
    holes = member("holes")
    holes.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(10**13)}
    guest.on("GET", f"{HERE}/files", got("folder", tar_of((holes, b"x"), (member("fine"), b"4"))))
    answer = slipway("cp", "run-1:/x", str(tmp_path / "target"))
    assert (answer.code, "Left out" in answer.err) == (0, True)
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["fine"]


def test_a_link_that_was_there_before_is_not_followed_out(guest, slipway, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (target / "x").mkdir()
    (target / "x" / "door").symlink_to(tmp_path / "elsewhere")
    guest.on("GET", f"{HERE}/files", got("folder", tar_of((member("door/evil"), b"1"))))
    slipway("cp", "run-1:/x", str(target))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_files_and_folders_in(guest, slipway, tmp_path):
    guest.on("PUT", f"{HERE}/files", {"bytes": 3})
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "e" / "f").write_text("abc")
    assert slipway("cp", f"{tmp_path}/d", "run-1:/srv/").code == 0
    assert slipway("cp", f"{tmp_path}/d/e/f", "run-1:/srv/g").code == 0
    folder, file = (request for request in guest.asked if request.method == "PUT")
    assert dict(folder.url.params) == {"path": "/srv/d", "kind": "folder"}
    with tarfile.open(fileobj=io.BytesIO(folder.content)) as tar:
        assert sorted(tar.getnames()) == ["e", "e/f"]
        assert {(found.uid, found.uname) for found in tar.getmembers()} == {(0, "")}
    assert file.url.params["path"] == "/srv/g"
    assert file.headers["content-length"] == "3"


@pytest.mark.parametrize(("source", "target"), [("a", "b"), ("x:/a", "y:/b"), ("./a:b", "c"), ("run-1:tmp", "a")])
def test_one_side_is_the_sandbox(guest, slipway, source, target):
    assert slipway("cp", source, target).code == 2


def test_what_is_not_there(guest, slipway, tmp_path):
    guest.on("GET", f"{HERE}/files", problem(404, "no_such_file", "There is no such file."))
    assert slipway("cp", "run-1:/nope", str(tmp_path)).code == 4
    assert slipway("cp", str(tmp_path / "nope"), "run-1:/x").code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_transfer_that_breaks_off_leaves_no_half_file(guest, slipway, tmp_path):
    def pieces():
        yield b"half"
        raise httpx.ReadError("gone")

    guest.on("GET", f"{HERE}/files", httpx.Response(200, content=pieces(), headers={"x-slipway-kind": "file"}))
    assert slipway("cp", "run-1:/big", str(tmp_path)).code == 5
    assert list(tmp_path.iterdir()) == []
