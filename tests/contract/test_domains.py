"""Domains: definition, power, facts."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import uuid4

import pytest

from hypervisor.errors import AlreadyExists, BadSpec, HypervisorError, NotFound, WrongState
from hypervisor.specs import DomainState, OwnerTag
from tests.contract.rigs import Rig

RUNNING, STOPPED, PAUSED = DomainState.RUNNING, DomainState.STOPPED, DomainState.PAUSED
VERBS = ("start", "shutdown", "force_off", "reboot", "reset", "pause", "resume")

# What each verb makes of each state; a verb that is missing raises WrongState. The guest ignores ACPI or obeys it at
# once, as the rig has it, so of shutdown and reboot only the legality is said here.
POWER: dict[DomainState, dict[str, tuple[DomainState, ...]]] = {
    STOPPED: {"start": (RUNNING,)},
    RUNNING: {
        "shutdown": (RUNNING, STOPPED),
        "force_off": (STOPPED,),
        "reboot": (RUNNING,),
        "reset": (RUNNING,),
        "pause": (PAUSED,),
    },
    PAUSED: {"force_off": (STOPPED,), "reset": (PAUSED,), "resume": (RUNNING,)},
}


def state_of(rig: Rig, uuid: object) -> DomainState:
    found = rig.hypervisor.domain(uuid)  # type: ignore[arg-type]
    assert found is not None
    return found.state


def bring_to(rig: Rig, uuid: object, state: DomainState) -> None:
    now = state_of(rig, uuid)
    if now is state:
        return
    if now is not STOPPED:
        rig.hypervisor.force_off(uuid)  # type: ignore[arg-type]
    if state is not STOPPED:
        rig.hypervisor.start(uuid)  # type: ignore[arg-type]
    if state is PAUSED:
        rig.hypervisor.pause(uuid)  # type: ignore[arg-type]


def test_a_defined_domain_is_off_and_ours(rig: Rig) -> None:
    spec = rig.make()
    found = rig.hypervisor.domain(spec.uuid)
    assert found is not None
    assert (found.uuid, found.name, found.state, found.persistent) == (spec.uuid, spec.name, STOPPED, True)
    assert (found.owner, found.vcpus, found.memory_mib, found.active) == (spec.owner, 1, 64, False)
    listed = [facts for facts in rig.hypervisor.domains(rig.installation_id) if facts.uuid == spec.uuid]
    assert [(facts.name, facts.state, facts.owner, facts.memory_mib) for facts in listed] == [
        (spec.name, STOPPED, spec.owner, 64)
    ]
    assert rig.hypervisor.disk_paths(spec.uuid) == [spec.disks[0].path]


def test_the_state_alone_is_what_all_of_the_facts_say(rig: Rig) -> None:
    spec = rig.make()
    for wanted in (STOPPED, RUNNING, PAUSED):
        bring_to(rig, spec.uuid, wanted)
        assert rig.hypervisor.state(spec.uuid) is wanted
    assert rig.hypervisor.state(uuid4()) is None


def test_only_the_installations_own_domains_are_listed(rig: Rig) -> None:
    ours = rig.make()
    stranger = rig.domain_spec()
    stranger = replace(stranger, name=f"sw-other-{stranger.uuid}", owner=OwnerTag("00000000", uuid4()))
    rig.hypervisor.define(stranger)
    listed = {facts.uuid for facts in rig.hypervisor.domains(rig.installation_id)}
    assert ours.uuid in listed
    assert stranger.uuid not in listed
    assert [facts.uuid for facts in rig.hypervisor.domains("00000000")] == [stranger.uuid]


def test_defining_again_changes_nothing_or_what_differs(rig: Rig) -> None:
    spec = rig.make()
    rig.hypervisor.define(spec)
    larger = replace(spec, vcpus=2, memory_mib=128, owner=OwnerTag(rig.installation_id, uuid4()))
    rig.hypervisor.define(larger)
    found = rig.hypervisor.domain(spec.uuid)
    assert found is not None
    assert (found.vcpus, found.memory_mib, found.owner) == (2, 128, larger.owner)
    listed = {facts.uuid: facts.owner for facts in rig.hypervisor.domains(rig.installation_id)}
    assert listed[spec.uuid] == larger.owner


def test_an_active_domain_is_left_as_it_is(rig: Rig) -> None:
    spec = rig.make()
    rig.hypervisor.start(spec.uuid)
    rig.hypervisor.define(spec)
    with pytest.raises(WrongState):
        rig.hypervisor.define(replace(spec, vcpus=2))
    with pytest.raises(WrongState):
        rig.hypervisor.undefine(spec.uuid)
    assert state_of(rig, spec.uuid) is RUNNING


def test_a_name_belongs_to_one_domain(rig: Rig) -> None:
    spec = rig.make()
    with pytest.raises(AlreadyExists):
        rig.hypervisor.define(replace(rig.domain_spec(), name=spec.name))


def test_a_domain_that_xml_cannot_carry_is_refused(rig: Rig) -> None:
    if rig.is_libvirt:
        with pytest.raises(BadSpec):
            rig.hypervisor.define(replace(rig.domain_spec(), name="sw-\x01"))
        with pytest.raises(BadSpec):
            rig.hypervisor.define(replace(rig.domain_spec(), virt_type="no such type"))


def test_an_undefined_domain_is_gone_and_undefining_it_again_is_success(rig: Rig) -> None:
    spec = rig.make()
    rig.hypervisor.undefine(spec.uuid)
    assert rig.hypervisor.domain(spec.uuid) is None
    assert spec.uuid not in {facts.uuid for facts in rig.hypervisor.domains(rig.installation_id)}
    rig.hypervisor.undefine(spec.uuid)


def test_a_verb_on_no_domain_says_so(rig: Rig) -> None:
    for verb in (*VERBS, "disk_paths", "screenshot", "open_graphics"):
        with pytest.raises(NotFound):
            getattr(rig.hypervisor, verb)(uuid4())
    with pytest.raises(NotFound):
        rig.hypervisor.agent(uuid4(), "guest-ping")


@pytest.mark.parametrize("state", POWER)
def test_the_table_of_power(rig: Rig, state: DomainState) -> None:
    spec = rig.make()
    for verb in VERBS:
        bring_to(rig, spec.uuid, state)
        if verb in POWER[state]:
            getattr(rig.hypervisor, verb)(spec.uuid)
            assert state_of(rig, spec.uuid) in POWER[state][verb], verb
        else:
            with pytest.raises(WrongState):
                getattr(rig.hypervisor, verb)(spec.uuid)
            assert state_of(rig, spec.uuid) is state, verb


def test_a_forced_off_or_paused_domain_says_who_did_it(rig: Rig) -> None:
    spec = rig.make()
    rig.hypervisor.start(spec.uuid)
    rig.hypervisor.pause(spec.uuid)
    paused = rig.hypervisor.domain(spec.uuid)
    assert paused is not None
    assert (paused.state, paused.reason) == (PAUSED, "user")
    rig.hypervisor.force_off(spec.uuid)
    off = rig.hypervisor.domain(spec.uuid)
    assert off is not None
    assert (off.state, off.reason) == (STOPPED, "destroyed")


def test_of_eight_starts_at_once_one_wins(rig: Rig) -> None:
    spec = rig.make()

    def start(_number: int) -> str:
        try:
            rig.hypervisor.start(spec.uuid)
        except HypervisorError as error:
            return error.code
        return "started"

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(start, range(8)))
    assert answers.count("started") == 1
    assert state_of(rig, spec.uuid) is RUNNING
