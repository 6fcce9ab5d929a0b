"""Files and folders in and out of guests, through the runner and through the agent: whole, capped, where they may."""

import asyncio
import hashlib
import io
import os
import random
import tarfile
import time
from functools import partial

import httpx
import pytest

from accounts.refusals import BadInput, InvalidState, Unavailable
from hypervisor.errors import AgentUnavailable
from sandboxes import gateway_runs
from sandboxes.gateway_runs import NoSuchFile, TooLarge
from tests.portal.agent_guest import AgentGuests
from tests.portal.gateways import DEADLINE, in_thread, live_gateway, run_to_end, said
from vms import gateway_auth

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.enable_socket]  # loopback only
MIB = 2**20


@pytest.fixture
async def gateway(world, runner_program, tmp_path, monkeypatch):
    monkeypatch.setattr("console.agent_process.FOLDER", str(tmp_path / "agent"))
    monkeypatch.setattr("console.agent_process.SLOW_SECONDS", 0.1)
    agents = AgentGuests.like(world.hypervisor)
    async with live_gateway(agents, runner_program) as made:
        yield made
    agents.close()


@pytest.fixture(params=["runner", "agent"])
def vm(request, world, gateway):
    made = world.vm()
    if request.param == "runner":
        gateway.guest(made)
    return made


async def put(vm, path, data, **options):
    pieces = (data[at : at + 65536] for at in range(0, len(data), 65536))
    return await in_thread(partial(gateway_runs.put_file, **options))(vm, str(path), pieces)


async def get(vm, path):
    async with gateway_runs.open_file(vm, str(path)) as found:
        return found.kind, b"".join([piece async for piece in found.pieces])


def tar_of(**files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


async def test_a_file_goes_there_and_back(vm, tmp_path):
    data = random.Random(3).randbytes(3 * MIB + 17)
    target = tmp_path / "new" / "folder" / "a file '\"$x\n\u00e9"
    assert await put(vm, target, data) == len(data)
    assert (target.read_bytes(), target.stat().st_mode & 0o777) == (data, 0o644)
    assert await get(vm, target) == ("file", data)
    await put(vm, target, b"#!/bin/sh\n", mode="755")
    assert (target.read_bytes(), target.stat().st_mode & 0o777) == (b"#!/bin/sh\n", 0o755)
    await put(vm, target, b"")
    assert await get(vm, target) == ("file", b"")
    assert [path.name for path in target.parent.iterdir()] == [target.name], "nothing half made is left"


async def test_a_folder_goes_there_and_back_with_the_same_content(vm, tmp_path):
    luck = random.Random(4)
    files = {f"{'deep__' * depth}{depth}.bin": luck.randbytes(200_000) for depth in range(5)}
    target = tmp_path / "tree"
    await put(vm, target, tar_of(**files), kind="folder")
    kind, data = await get(vm, target)
    assert kind == "folder"
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        back = {m.name.removeprefix("./"): tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}
    wanted = {name.replace("__", "/"): hashlib.sha256(data).hexdigest() for name, data in files.items()}
    assert {name: hashlib.sha256(data).hexdigest() for name, data in back.items()} == wanted


async def test_a_folder_is_listed_whatever_names_are_in_it(vm, tmp_path):
    names = ["plain", "-rf", "$(touch x)", "line\n81a4 7 .", ".hidden", "\u00e9 '\"", "*", "<b>"]
    (tmp_path / "in").mkdir()
    for name in names:
        (tmp_path / "in" / name).write_text("12345")
    (tmp_path / "in" / "z-folder").mkdir()
    (tmp_path / "in" / "gone").symlink_to("/nowhere")
    (tmp_path / "in" / os.fsdecode(b"raw\xff")).write_text("1")
    entries, more = await in_thread(gateway_runs.list_folder)(vm, str(tmp_path / "in"))
    kinds = {entry.name: (entry.kind, entry.size_bytes) for entry in entries}
    assert entries[0].name == "z-folder", "folders come first"
    assert {name: kinds[name] for name in names} == dict.fromkeys(names, ("file", 5))
    assert (kinds["gone"][0], kinds["raw\ufffd"][0], more) == ("link", "other", False)
    assert len(entries) == len(names) + 3


async def test_a_list_ends_somewhere_and_what_is_no_folder_is_said(vm, tmp_path, monkeypatch):
    for number in range(30):
        (tmp_path / f"{number:02}").write_text("")
    monkeypatch.setattr("console.folders.AT_MOST", 20)
    entries, more = await in_thread(gateway_runs.list_folder)(vm, str(tmp_path))
    assert (len(entries), more) == (20, True)
    monkeypatch.setattr("console.folders.AT_MOST_BYTES", 100)
    entries, more = await in_thread(gateway_runs.list_folder)(vm, str(tmp_path))
    assert more
    assert len(entries) < 20
    with pytest.raises(InvalidState, match="not a folder"):
        await in_thread(gateway_runs.list_folder)(vm, str(tmp_path / "00"))
    with pytest.raises(NoSuchFile):
        await in_thread(gateway_runs.list_folder)(vm, str(tmp_path / "absent"))
    with pytest.raises(BadInput):
        await in_thread(gateway_runs.list_folder)(vm, "relative")


async def test_more_than_the_cap_is_refused_both_ways(vm, tmp_path, settings):
    settings.FILES_AT_MOST_BYTES = MIB
    target = tmp_path / "large"
    with pytest.raises(TooLarge, match="1 MiB"):
        await put(vm, target, bytes(MIB + 1))
    async with asyncio.timeout(DEADLINE):
        while list(tmp_path.glob("large*")):  # noqa: ASYNC110 - what was begun is taken back
            await asyncio.sleep(0.02)
    await put(vm, target, bytes(MIB))
    assert await get(vm, target) == ("file", bytes(MIB))
    target.write_bytes(bytes(MIB + 1))
    with pytest.raises(TooLarge):
        await get(vm, target)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_bytes(bytes(MIB))  # its tar is larger; that shows only on the way
    with pytest.raises(httpx.RemoteProtocolError):
        await get(vm, folder)


@pytest.mark.parametrize(
    "path",
    ["", "relative", "./x", "../etc/passwd", "/tmp/../etc/passwd", "/tmp/..", "/tmp/a\0b", "/" + "a" * 256, "/a" * 2049,
     "~/x", "file:///etc/passwd", "\\etc", "/tmp/\udcff"],
)  # fmt: skip
async def test_paths_that_are_refused_A12(world, gateway, path):
    vm = await in_thread(world.vm)()
    with pytest.raises(BadInput):
        await get(vm, path)
    with pytest.raises(BadInput):
        await put(vm, path, b"x")
    assert gateway.hypervisor.asked == [], "the guest was not asked"


async def test_names_that_only_look_dangerous_are_names_A12(vm, tmp_path):
    for name in ("..a", "...", "-rf", "$(touch x)", "`id`", "a;b", "%2e%2e", "*", "a&kind=folder&mode=777", "#?"):
        target = tmp_path / "names" / name
        await put(vm, target, name.encode())
        assert await get(vm, target) == ("file", name.encode())
    assert len(list((tmp_path / "names").iterdir())) == 10


async def test_what_cannot_be_read_or_written_says_why(vm, tmp_path):
    with pytest.raises(NoSuchFile):
        await get(vm, tmp_path / "absent")
    with pytest.raises(InvalidState, match="neither"):
        await get(vm, "/dev/zero")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidState):
        await put(vm, tmp_path / "file" / "below", b"x")
    with pytest.raises(InvalidState, match="folder of this name"):
        await put(vm, tmp_path, b"x")
    with pytest.raises(InvalidState):
        await put(vm, tmp_path / "tree", b"this is no tar" * 100, kind="folder")
    with pytest.raises(BadInput):
        await put(vm, tmp_path / "file", b"x", mode="+x")
    assert (tmp_path / "file").read_text() == "x"


async def test_a_sender_that_goes_away_leaves_the_old_file(vm, tmp_path):
    target = tmp_path / "file"
    target.write_text("old")

    def broken():
        yield b"new" * 100_000
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await in_thread(gateway_runs.put_file)(vm, str(target), broken())
    async with asyncio.timeout(DEADLINE):
        while [path.name for path in tmp_path.glob("file*")] != ["file"]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert target.read_text() == "old"
    assert await get(vm, target) == ("file", b"old")


async def test_an_upload_may_take_long_while_it_goes_on_and_not_stand_still(vm, tmp_path, monkeypatch):
    monkeypatch.setattr("console.files.STALL_SECONDS", 1.0)

    def slowly(pause):
        for _ in range(8):
            time.sleep(pause)
            yield b"x" * 100_000

    assert await in_thread(gateway_runs.put_file)(vm, str(tmp_path / "file"), slowly(0.3)) == 800_000
    with pytest.raises(Unavailable, match="too long"):
        await in_thread(gateway_runs.put_file)(vm, str(tmp_path / "other"), slowly(2.5))
    async with asyncio.timeout(DEADLINE):
        while [path.name for path in tmp_path.iterdir() if path.is_file()] != ["file"]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_reader_that_goes_away_ends_it_in_the_guest(world, gateway, tmp_path):
    vm = await in_thread(world.vm)()
    gateway.guest(vm)
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(60 * MIB)
    async with gateway_runs.open_file(vm, str(large)) as found:
        async for _piece in found.pieces:
            break
    async with asyncio.timeout(DEADLINE):
        while gateway.gateway.data._files._under_way:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert await said(await run_to_end(vm, "echo free")) == b"free\n"


async def test_a_hundred_megabytes(world, gateway, tmp_path, settings):
    settings.FILES_AT_MOST_BYTES = 100 * MIB
    vm = await in_thread(world.vm)()
    guest = gateway.guest(vm)
    target, block = tmp_path / "large", random.Random(5).randbytes(MIB)
    count = await in_thread(gateway_runs.put_file)(vm, str(target), (block for _ in range(100)))
    assert (count, target.stat().st_size) == (100 * MIB, 100 * MIB)
    digest = hashlib.sha256()
    async with gateway_runs.open_file(vm, str(target)) as found:
        async for piece in found.pieces:
            digest.update(piece)
    assert digest.digest() == hashlib.sha256(block * 100).digest()
    assert guest.resident_bytes() < 64 * MIB


async def test_only_so_many_at_once(world, gateway, tmp_path):
    vm = await in_thread(world.vm)()
    gateway.guest(vm)
    files = gateway.gateway.data._files
    files._under_way[vm.domain_uuid] = 4
    with pytest.raises(InvalidState, match="at once"):
        await put(vm, tmp_path / "x", b"x")
    del files._under_way[vm.domain_uuid]
    await put(vm, tmp_path / "x", b"x")


async def test_nobody_there(world, gateway):
    def silent(*_asked, **_options):
        raise AgentUnavailable("there is none")

    vm = await in_thread(world.vm)()
    gateway.hypervisor.agent = silent
    with pytest.raises(Unavailable, match="does not answer"):
        await get(vm, "/etc/hostname")


async def test_a_path_as_web_writes_it_is_what_the_gateway_reads():
    """The signature is over the path as it is sent: httpx must not write it otherwise."""
    for path in ("/a b", "/\u00e9", "/%41", "/a+b", "/a&b=c", "/a'b\"c", "/[x]{y}|z^", "/~*"):
        signed = gateway_auth.files_path("0", path)
        assert httpx.Request("GET", "http://node" + signed).url.raw_path.decode() == signed
