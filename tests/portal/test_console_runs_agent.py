"""Runs in guests without the runner: through an agent that really does what the gateway asks it."""

import asyncio
import signal
import time
from collections import Counter

import pytest

from sandboxes import gateway_runs
from sandboxes.states import RunStatus
from tests.portal.agent_guest import AgentGuests
from tests.portal.gateways import DEADLINE, ended, in_thread, live_gateway, new_run, run_to_end, said

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.enable_socket]  # loopback only


@pytest.fixture
def agents(world, tmp_path, monkeypatch):
    monkeypatch.setattr("console.agent_process.FOLDER", str(tmp_path / "guest"))
    monkeypatch.setattr("console.agent_process.SLOW_SECONDS", 0.1)
    made = AgentGuests.like(world.hypervisor)
    yield made
    made.close()


@pytest.fixture
async def gateway(agents, runner_program):
    async with live_gateway(agents, runner_program) as made:
        yield made


@pytest.fixture
def vm(world, gateway):
    return world.vm()


async def until_said(run, wanted):
    async with asyncio.timeout(DEADLINE):
        while wanted not in (found := await said(run)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return found


async def nothing_left(folder):
    async with asyncio.timeout(DEADLINE):
        while list(folder.iterdir()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_run_with_stdin_environment_folder_and_both_streams(vm, tmp_path):
    script = 'cat; echo "$WORD in $PWD" >&2; exit 3'
    run = await run_to_end(vm, script, stdin=b"typed" * 20_000, env={"WORD": "a b"}, cwd="/tmp")
    assert (run.status, run.exit_code, run.signal) == (RunStatus.EXITED, 3, None)
    assert await said(run) == b"typed" * 20_000
    assert await said(run, "stderr") == b"a b in /tmp\n"
    await nothing_left(tmp_path / "guest")


async def test_output_is_read_as_it_grows_and_kill_ends_it(vm):
    run = await new_run(vm, "echo one; sleep 0.3; echo two; sleep 100")
    await in_thread(gateway_runs.start)(run)
    await until_said(run, b"one\n")
    await until_said(run, b"one\ntwo\n")
    await in_thread(gateway_runs.kill)(run)
    assert (await ended(run)).status == RunStatus.KILLED


async def test_what_comes_after_the_cap_is_thrown_away_in_the_guest_A18(vm, monkeypatch):
    monkeypatch.setattr("console.runs.CAP_BYTES", 100_000)  # of what the guest keeps
    run = await run_to_end(vm, "head -c 3000000 /dev/zero; echo fine >&2")
    assert (run.status, run.exit_code, await said(run, "stderr")) == (RunStatus.EXITED, 0, b"fine\n")
    assert await said(run) == bytes(196 * 512)


async def test_what_a_guest_adds_to_its_output_after_the_end_is_not_read_A18(vm, tmp_path, monkeypatch):
    monkeypatch.setattr("console.runs.CAP_BYTES", 100_000)
    longer = f"truncate -s 500M {tmp_path}/guest/*/stdout; echo 0 > $(echo {tmp_path}/guest/*)/code"
    run = await run_to_end(vm, f"echo begun; {longer}; sleep 0.2")
    assert (run.status, run.exit_code) == (RunStatus.EXITED, 0)
    assert run.stdout_bytes < 200_000


async def test_no_file_stays_open_in_the_guest(vm, agents, tmp_path):
    await run_to_end(vm, "cat; echo err >&2", stdin=b"typed")
    await nothing_left(tmp_path / "guest")
    assert agents._files == {}


async def test_an_agent_that_is_silent_holds_up_nobody_else(vm, agents, world, monkeypatch):
    """However many runs its guest has: each domain is asked one question at a time."""
    asked = Counter()
    real = agents.agent

    def slow(uuid, *args, **more):
        asked[uuid] += 1
        if uuid == vm.domain_uuid:
            assert asked[uuid] == 1
            time.sleep(0.2)
        asked[uuid] -= 1
        return real(uuid, *args, **more)

    monkeypatch.setattr(agents, "agent", slow)
    other = await in_thread(world.vm)("web-2")
    mute = [await new_run(vm, "sleep 0.1") for _ in range(20)]
    for run in mute:
        await in_thread(gateway_runs.start)(run)
    assert (await run_to_end(other, "echo fine")).exit_code == 0
    assert (await in_thread(mute[-1].refresh_from_db)(), mute[-1].status)[1] == RunStatus.RUNNING
    for run in mute:
        await in_thread(gateway_runs.kill)(run)


async def test_a_run_past_its_limit(vm):
    run = await run_to_end(vm, "echo begun; sleep 100", timeout_seconds=2)
    assert (run.status, run.signal) == (RunStatus.TIMED_OUT, signal.SIGTERM)
    assert await said(run) == b"begun\n"


async def test_a_run_goes_on_over_a_restart(vm, gateway):
    run = await new_run(vm, "for n in 1 2 3 4 5 6; do echo $n; sleep 0.3; done; exit 6")
    await in_thread(gateway_runs.start)(run)
    await until_said(run, b"1\n")
    await gateway.stop()
    await gateway.start()
    await ended(run)
    assert (run.status, run.exit_code) == (RunStatus.EXITED, 6)
    assert await said(run) == b"1\n2\n3\n4\n5\n6\n"


async def test_an_agent_that_falls_silent_for_a_while_loses_nothing_and_for_good_the_run(vm, agents, monkeypatch):
    run = await new_run(vm, "echo one; sleep 0.5; echo two; sleep 5")
    await in_thread(gateway_runs.start)(run)
    await until_said(run, b"one\n")
    agents.silent = True
    asked = len(agents.asked)
    async with asyncio.timeout(DEADLINE):
        while len(agents.asked) < asked + 8:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    agents.silent = False
    await until_said(run, b"one\ntwo\n")
    monkeypatch.setattr("console.agent_process.SILENCE_SECONDS", 0.3)
    agents.silent = True
    await ended(run)
    assert (run.status, run.error_code) == (RunStatus.LOST, "guest_lost")
    agents.silent = False
    agents.end()
