"""Runs through the gateway, with the real runner as the guest: output, ends, limits, and gateways that come and go."""

import asyncio
import base64
import contextlib
import json
import signal
from uuid import uuid4

import httpx
import pytest

from accounts.refusals import Unavailable
from console import data_plane
from console.runs import Runs
from hypervisor.errors import AgentUnavailable
from sandboxes import gateway_runs
from sandboxes.models import Run
from sandboxes.states import RunStatus
from tests.portal.agent_guest import AgentGuests
from tests.portal.gateways import DEADLINE, ended, in_thread, live_gateway, new_run, run_to_end, said
from vms import gateway_auth
from vms.models import Node, VirtualMachine

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.enable_socket]  # loopback only


class NoAgents(AgentGuests):
    """Guests that have the runner or nothing."""

    def agent(self, *_asked, **_options):
        raise AgentUnavailable("there is none")


@pytest.fixture
async def gateway(world, runner_program):
    async with live_gateway(NoAgents.like(world.hypervisor), runner_program) as made:
        yield made


@pytest.fixture
def vm(world, gateway):
    made = world.vm()
    gateway.guest(made)
    return made


@contextlib.asynccontextmanager
async def followed(run, **offsets):
    """Yield an iterator of (event, content) of a run's server-sent events."""

    async def events():
        rest = b""
        async for data in gateway_runs.events(run, **offsets):
            rest += data
            while b"\n\n" in rest:
                block, rest = rest.split(b"\n\n", 1)
                fields = dict(line.split(": ", 1) for line in block.decode().split("\n") if ": " in line)
                if "event" in fields:
                    yield fields["event"], json.loads(fields["data"])

    iterator = events()
    async with contextlib.aclosing(iterator):
        yield iterator


async def until_output(run, wanted=b""):
    """Follow stdout until it has these bytes; returns all of it."""
    out = b""
    async with asyncio.timeout(DEADLINE), followed(run) as events:
        async for name, content in events:
            if name == "output" and content["stream"] == "stdout":
                out += base64.b64decode(content["data"])
                if wanted in out:
                    break
    return out


# --- a run's life -----------------------------------------------------------------------------------------------
async def test_a_run_has_output_a_code_and_times(vm):
    run = await run_to_end(
        vm, 'cat; echo "$WORD in $PWD" >&2; exit 3', stdin=b"\x00typed", env={"WORD": "here"}, cwd="/tmp"
    )
    assert (run.status, run.exit_code, run.signal, run.error_code) == (RunStatus.EXITED, 3, None, "")
    assert (run.stdout_bytes, run.stderr_bytes, run.stdout_truncated) == (6, 13, False)
    assert run.domain_uuid == vm.domain_uuid
    assert run.created_at <= run.started_at <= run.finished_at
    assert run.stdin is None, "it is not kept longer than it is needed"
    assert await said(run) == b"\x00typed"
    assert await said(run, "stderr") == b"here in /tmp\n"


async def test_the_end_of_a_run_is_hinted_to_those_who_look_at_its_machine(vm, bells):
    run = await new_run(vm, "read line; exit 3", stdin=b"")
    before, rung = await version(vm), len(bells)
    await in_thread(gateway_runs.start)(run)
    await ended(run)
    await eventually_rung(bells, rung + 1)
    assert await version(vm) == before + 1


@in_thread
def version(vm):
    return VirtualMachine.objects.get(pk=vm.pk).version


async def eventually_rung(bells, number):
    """The row is written first, the bell rung then."""
    async with asyncio.timeout(DEADLINE):
        while len(bells) < number:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_output_is_there_while_it_runs(vm):
    run = await new_run(vm, "echo one; read line; echo two", stdin=b"")
    run = await new_run(vm, "echo one; sleep 100")
    await in_thread(gateway_runs.start)(run)
    assert await until_output(run, b"one\n") == b"one\n"
    piece = await in_thread(gateway_runs.output)(run, "stdout", 1)
    assert (piece.data, piece.next_offset, piece.ended) == (b"ne\n", 4, False)
    await in_thread(gateway_runs.kill)(run)
    await ended(run)


async def test_events_have_both_streams_and_the_end_and_can_be_taken_up(vm):
    run = await new_run(vm, "echo out; echo err >&2; exit 9")
    await in_thread(gateway_runs.start)(run)
    for _again in range(2):  # as it runs, and long after
        streams = {"stdout": b"", "stderr": b""}
        async with asyncio.timeout(DEADLINE), followed(run) as events:
            async for name, content in events:
                if name == "output":
                    streams[content["stream"]] += base64.b64decode(content["data"])
        assert streams == {"stdout": b"out\n", "stderr": b"err\n"}
        assert name == "end"
        assert (content["status"], content["exit_code"]) == ("exited", 9)
    async with asyncio.timeout(DEADLINE), followed(run, stdout=2, stderr=4) as events:
        assert [content.get("data") for _name, content in [event async for event in events]] == ["dAo=", None]


async def test_whoever_listens_before_it_begins_hears_it_without_asking_again(vm, monkeypatch):
    monkeypatch.setattr(data_plane, "NOT_HERE_SECONDS", 100.0)  # further than this test waits
    waits, wait = asyncio.Event(), Runs.until_carried

    async def until_carried(*asked):
        waits.set()
        await wait(*asked)

    monkeypatch.setattr(Runs, "until_carried", until_carried)
    run = await new_run(vm, "echo at once")
    async with asyncio.timeout(DEADLINE):
        listening = asyncio.ensure_future(until_output(run, b"at once\n"))
        await waits.wait()
        await in_thread(gateway_runs.start)(run)
        assert await listening == b"at once\n"


async def test_a_signal_from_inside_is_a_code_as_in_a_shell(vm):
    run = await run_to_end(vm, "kill -USR1 $$")
    assert (run.status, run.exit_code, run.signal) == (RunStatus.EXITED, 128 + signal.SIGUSR1, signal.SIGUSR1)


async def test_kill_is_polite_first(vm):
    run = await new_run(vm, "trap 'echo bye; exit 4' TERM; echo ready; while :; do sleep 0.05; done")
    await in_thread(gateway_runs.start)(run)
    await until_output(run, b"ready")
    await in_thread(gateway_runs.kill)(run)
    assert (await ended(run)).status == RunStatus.KILLED
    assert await said(run) == b"ready\nbye\n"


async def test_kill_then_without_asking(vm, monkeypatch):
    monkeypatch.setattr("console.runs.POLITE_SECONDS", 0.2)
    run = await new_run(vm, "trap '' TERM; echo ready; while :; do sleep 0.05; done")
    await in_thread(gateway_runs.start)(run)
    await until_output(run, b"ready")
    await in_thread(Run.objects.filter(pk=run.pk).update)(kill_requested_at="2026-01-01T00:00:00Z")  # no bell
    assert ((await ended(run)).status, run.signal) == (RunStatus.KILLED, signal.SIGKILL)


async def test_a_run_past_its_limit(vm):
    run = await run_to_end(vm, "echo begun; sleep 100", timeout_seconds=1)
    assert (run.status, run.exit_code) == (RunStatus.TIMED_OUT, 128 + signal.SIGTERM)
    assert await said(run) == b"begun\n"
    assert (run.finished_at - run.started_at).total_seconds() >= 1


async def test_a_flood_is_cut_off_counted_and_drained_A18(vm, monkeypatch):
    monkeypatch.setattr("console.runs.DRAIN_PAUSE_SECONDS", 0)
    run = await run_to_end(vm, "head -c 9000000 /dev/zero; echo end >&2")
    assert (run.status, run.exit_code) == (RunStatus.EXITED, 0)
    assert (run.stdout_bytes, run.stdout_truncated, run.stderr_truncated) == (9_000_000, True, False)
    assert await said(run) == bytes(4 * 2**20)
    assert await said(run, "stderr") == b"end\n"


async def test_a_flood_holds_up_no_other_run_A18(vm):
    flood = await new_run(vm, "yes")
    await in_thread(gateway_runs.start)(flood)
    await until_output(flood, b"y\n")
    others = await asyncio.gather(*(run_to_end(vm, f"echo {number}") for number in range(5)))
    assert {run.status for run in others} == {RunStatus.EXITED}
    assert {await said(run) for run in others} == {f"{number}\n".encode() for number in range(5)}
    await in_thread(flood.refresh_from_db)()
    assert flood.status == RunStatus.RUNNING
    await in_thread(gateway_runs.kill)(flood)
    assert (await ended(flood)).status == RunStatus.KILLED


async def test_what_cannot_be_run(vm):
    assert ((await run_to_end(vm, argv=["/no/such/thing"])).status, 127) == (RunStatus.EXITED, 127)
    run = await run_to_end(vm, argv=["x"] * 40_000)
    assert (run.status, run.error_code) == (RunStatus.FAILED, "bad_order")
    assert "KiB" in run.error_detail


# --- once, and only by the right ones ---------------------------------------------------------------------------
async def test_it_is_begun_once_whoever_asks(vm, tmp_path):
    mark = tmp_path / "mark"
    run = await new_run(vm, f"echo x >> {mark}")
    await asyncio.gather(*(in_thread(_started)(run) for _ in range(8)))
    await ended(run)
    with pytest.raises(Unavailable):
        await in_thread(gateway_runs.start)(run)
    assert mark.read_text() == "x\n"


def _started(run):
    with contextlib.suppress(Unavailable):  # all but one, once it has ended
        gateway_runs.start(run)


async def test_a_run_of_another_node_is_not_touched(vm, settings):
    run = await new_run(vm, "true")
    settings.NODE_NAME = "node-2"
    with pytest.raises(Unavailable):
        await in_thread(gateway_runs.start)(run)
    await in_thread(run.refresh_from_db)()
    assert run.status == RunStatus.PENDING


async def test_only_web_may_ask_and_only_for_what_it_signed(world, vm):
    run = await run_to_end(vm, "echo secret")
    url = (await in_thread(Node.objects.get)()).gateway_url
    path = gateway_auth.run_path(run.pk, "output", stream="stdout")
    files = gateway_auth.files_path(vm.domain_uuid, "/etc/passwd")
    signatures = [
        "", "x", gateway_auth.sign("node-2", path), gateway_auth.sign("node-1", path, "POST"),
        gateway_auth.sign("node-1", path + "&offset=1"), gateway_auth.sign("node-1", path.split("?")[0]),
        gateway_auth.sign("node-1", gateway_auth.run_path(uuid4(), "output", stream="stdout")),
    ]  # fmt: skip
    async with httpx.AsyncClient(trust_env=False) as client:
        for signature in signatures:
            for method, target in (("GET", path), ("GET", files), ("PUT", files), ("POST", path), ("DELETE", path)):
                if (method, signature) == ("POST", signatures[3]):
                    continue
                answer = await client.request(method, url + target, headers={gateway_auth.HEADER: signature})
                assert (answer.status_code, answer.content) == (403, b""), (method, target, signature)
        good = {gateway_auth.HEADER: gateway_auth.sign("node-1", path)}
        assert (await client.get(url + path, headers=good)).content == b"secret\n"


# --- guests that go away ----------------------------------------------------------------------------------------
async def test_a_guest_that_is_not_there(world, gateway):
    run = await run_to_end(await in_thread(world.vm)("web-9"), "true")
    assert (run.status, run.error_code) == (RunStatus.FAILED, "guest_lost")


@pytest.mark.parametrize(
    ("now", "code"),
    [({}, "guest_lost"), ({"domain_uuid": uuid4()}, "reset"), ({"desired_state": "deleted"}, "deleted")],
)
async def test_a_guest_that_goes_away_says_why(world, gateway, now, code):
    vm = await in_thread(world.vm)()
    guest = gateway.guest(vm)
    run = await new_run(vm, "echo last words; sleep 100")
    await in_thread(gateway_runs.start)(run)
    await until_output(run, b"last words\n")
    if now:
        await in_thread(VirtualMachine.objects.filter(pk=vm.pk).update)(**now)
    guest.kill()
    await ended(run)
    assert (run.status, run.error_code, run.exit_code) == (RunStatus.LOST, code, None)
    assert run.error_detail
    assert await said(run) == b"last words\n"


@pytest.mark.parametrize(
    ("language", "words"),
    [("fr", "invité ne répond pas"), ("en", "The guest does not answer"), ("xx", "The guest does not answer")],
)
async def test_a_stream_says_why_in_the_readers_language(world, gateway, language, words):
    run = await run_to_end(await in_thread(world.vm)("web-9"), "true")
    async with followed(run, language=language) as events:
        name, content = await anext(events)
    assert (name, content["error_code"]) == ("end", "guest_lost")
    assert words in content["error_detail"]


async def test_what_ended_in_the_database_is_ended_in_the_guest(vm, gateway, tmp_path):
    mark = tmp_path / "mark"
    run = await new_run(vm, f"echo begun; trap 'touch {mark}; exit' TERM; while :; do sleep 0.05; done")
    await in_thread(gateway_runs.start)(run)
    await until_output(run, b"begun")
    await in_thread(Run.objects.filter(pk=run.pk).update)(
        status=RunStatus.LOST, error_code="reset", finished_at="2026-01-01T00:00:00Z"
    )
    assert run.stdout_bytes == 0
    async with asyncio.timeout(DEADLINE):
        while not mark.exists() or gateway.gateway.runs.carried(run.pk):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await in_thread(run.refresh_from_db)()
    assert (run.status, run.error_code) == (RunStatus.LOST, "reset"), "nobody writes over it"
    assert run.stdout_bytes == len(b"begun\n"), "but for what it had said"


# --- gateways that come and go ----------------------------------------------------------------------------------
async def test_a_run_goes_on_over_a_restart_and_nothing_is_lost(vm, gateway):
    run = await new_run(vm, "cat; for n in 1 2 3 4 5 6; do echo $n; sleep 0.2; done; exit 6", stdin=b"x" * 200_000)
    await in_thread(gateway_runs.start)(run)
    await until_output(run, b"1\n")
    await gateway.stop()
    await in_thread(run.refresh_from_db)()
    assert run.status == RunStatus.RUNNING
    await gateway.start()
    await ended(run)
    assert (run.status, run.exit_code) == (RunStatus.EXITED, 6)
    assert await said(run) == b"x" * 200_000 + b"1\n2\n3\n4\n5\n6\n"


async def test_a_run_that_ended_meanwhile_still_has_its_end(vm, gateway, tmp_path):
    mark = tmp_path / "mark"
    run = await new_run(vm, f"echo a; while [ ! -e {mark} ]; do sleep 0.02; done; echo b; exit 8")
    await in_thread(gateway_runs.start)(run)
    await until_output(run, b"a\n")
    await gateway.stop()
    mark.touch()
    await asyncio.sleep(0.2)
    await gateway.start()
    assert ((await ended(run)).exit_code, await said(run)) == (8, b"a\nb\n")


async def test_a_run_that_the_guest_never_got_is_lost_and_not_begun_again(vm, gateway, tmp_path):
    mark = tmp_path / "mark"
    await gateway.stop()
    run = await new_run(
        vm, f"touch {mark}", status=RunStatus.RUNNING, domain_uuid=vm.domain_uuid, started_at="2026-01-01T00:00:00Z"
    )
    await gateway.start()
    await ended(run)
    assert (run.status, run.error_code) == (RunStatus.LOST, "gateway_restarted")
    assert not mark.exists()


async def test_of_ended_runs_the_last_are_kept_and_the_disk_is_not_filled(vm, gateway, monkeypatch):
    monkeypatch.setattr("sandboxes.run_journal.KEPT_RUNS", 2)
    late = await new_run(vm, "sleep 1; echo late")
    await in_thread(gateway_runs.start)(late)
    runs = [await run_to_end(vm, f"echo {number}") for number in range(3)]
    runs = [*runs[2:], await ended(late)]  # begun before all, ended after them
    assert await said(late) == b"late\n"
    folder = gateway.gateway.runs.folder
    async with asyncio.timeout(DEADLINE):
        while len(list(folder.iterdir())) > 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    kept = await in_thread(lambda: set(Run.objects.values_list("pk", flat=True)))()
    assert kept == {run.pk for run in runs}
    assert {path.stem for path in folder.iterdir()} == {str(pk) for pk in kept}


async def test_files_of_runs_that_are_no_more_are_removed(vm, gateway):
    run = await run_to_end(vm, "echo kept")
    folder = gateway.gateway.runs.folder
    assert (folder / f"{run.pk}.stdout").stat().st_mode & 0o777 == 0o600
    (folder / f"{uuid4()}.stdout").write_bytes(b"old")
    await gateway.gateway.runs._tidy()
    assert [path.name for path in folder.iterdir()] == [f"{run.pk}.stdout"]
