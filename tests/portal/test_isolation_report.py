"""The isolation report: whom a check tries, what the API says of it, and when silence says nothing."""

import pytest
from django.utils import timezone

from accounts.refusals import Unavailable
from sandboxes import gateway_runs, isolation
from sandboxes.models import Run
from sandboxes.presenting.isolation import LABELS
from tests.portal.lab import make_lab
from vms.models import Nic, Node, VirtualMachine

ALL = [name for name in isolation.PROBES if name not in isolation.ONLY_WHEN_WRONG]
HELD = "".join(f"{name} blocked \n" for name in ALL)


@pytest.fixture(autouse=True)
def started(monkeypatch):
    monkeypatch.setattr(gateway_runs, "start", lambda _run: None)


@pytest.fixture
def lab(world):
    return make_lab(world)


def tried(box):
    """Return the host's addresses and the neighbour that a check of a sandbox is told."""
    hosts, neighbour = isolation.command(VirtualMachine.objects.get(pk=box.vm_id))[3:]
    return hosts.split(","), neighbour


def ended(monkeypatch, printed, **how):
    """Let the check that was asked for have ended, having printed this."""
    now = timezone.now()
    Run.objects.update(started_at=now, finished_at=now, **{"status": "exited", "exit_code": 0, **how})
    piece = gateway_runs.Piece(printed.encode(), len(printed), True)
    monkeypatch.setattr(gateway_runs, "output", lambda *_arguments: piece)


# --- whom it tries ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("network", ["nat", "isolated"])
def test_the_host_is_tried_by_every_address_of_its(lab, network):
    Node.objects.update(addresses="192.0.2.7,192.0.2.8")
    box = lab.sandbox(network=network)
    hosts, _neighbour = tried(box)
    node = box.vm.node
    assert {"192.0.2.7", "192.0.2.8"} <= set(hosts)
    assert {net.gateway for net in node.networks.all() if net.gateway} <= set(hosts)
    if network == "nat":
        assert hosts[0] == box.vm.nics.get().network.gateway


def test_a_neighbour_is_a_running_sandbox_of_the_project_on_that_network(lab):
    alone = lab.sandbox("alone")
    lab.sandbox("elsewhere", network="isolated")
    lab.sandbox("charlies", by="charlie", project=None)
    lab.spares(1)  # paused: it would not answer anyhow
    assert tried(alone)[1] == "-"
    near = lab.sandbox("near")
    card = Nic.objects.get(vm=near.vm_id)
    assert tried(alone)[1] == f"{card.address},{card.mac}"
    VirtualMachine.objects.filter(pk=near.vm_id).update(observed_state="paused")
    assert tried(alone)[1] == "-"


def test_what_is_unplugged_is_nobodys_neighbour(lab):
    one, other = lab.sandbox("one", network="none"), lab.sandbox("other", network="isolated")
    assert tried(one)[1] == tried(other)[1] == "-"


# --- what the API says ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("printed", "verdict", "held"),
    [
        (HELD, "held", len(ALL)),
        (HELD.replace("host_tcp blocked ", "host_tcp open 22"), "open", len(ALL) - 1),
        (HELD.replace("neighbour_arp blocked ", "neighbour_arp untested nobody"), "held", len(ALL) - 1),
        (HELD.replace("forged_ip blocked ", "forged_ip untested no socket"), "incomplete", len(ALL) - 1),
        (HELD.replace("router blocked \n", ""), "incomplete", len(ALL) - 1),
        ("card blocked unplugged\n", "held", 1),
        ("", "failed", 0),
    ],
)
def test_a_verdict(lab, monkeypatch, printed, verdict, held):
    box = lab.sandbox()
    api = lab.world.api("alice")
    assert api.call("GET", f"sandboxes/{box.vm_id}/isolation").json()["verdict"] == "unchecked"
    begun = api.call("POST", f"sandboxes/{box.vm_id}/isolation")
    assert (begun.status_code, begun.json()["verdict"]) == (202, "running")
    assert api.call("GET", f"sandboxes/{box.vm_id}/isolation").json() == begun.json()
    ended(monkeypatch, printed)
    found = api.call("GET", f"sandboxes/{box.vm_id}/isolation").json()
    assert (found["verdict"], found["held"], found["run"]) == (verdict, held, begun.json()["run"])


def test_a_check_that_was_ended_early_says_why_and_still_what_it_found_open(lab, monkeypatch):
    box = lab.sandbox()
    api = lab.world.api("alice")
    api.call("POST", f"sandboxes/{box.vm_id}/isolation")
    ended(monkeypatch, "host_tcp open 22\n", status="lost", exit_code=None, error_code="reset")
    found = api.call("GET", f"sandboxes/{box.vm_id}/isolation", headers={"Accept-Language": "fr"}).json()
    assert (found["verdict"], found["probes"][0]["said"]) == ("open", "a répondu\xa0: 22")
    assert found["problem"].startswith("Le bac à sable a été réinitialisé")


def test_a_gateway_that_is_away_is_503(lab, monkeypatch):
    box = lab.sandbox()
    api = lab.world.api("alice")
    api.call("POST", f"sandboxes/{box.vm_id}/isolation")
    ended(monkeypatch, "")

    def away(*_arguments):
        raise Unavailable("The node does not answer just now.")

    monkeypatch.setattr(gateway_runs, "output", away)
    assert api.call("GET", f"sandboxes/{box.vm_id}/isolation").status_code == 503


def test_a_sandbox_without_a_card_is_not_checked(lab):
    box = lab.sandbox()
    Nic.objects.filter(vm=box.vm_id).delete()
    answer = lab.world.api("alice").call("POST", f"sandboxes/{box.vm_id}/isolation")
    assert (answer.status_code, answer.json()["code"]) == (409, "invalid_state")


def test_every_probe_has_its_words():
    assert set(LABELS) == set(isolation.PROBES)
    assert set(isolation.BY_FRAMES) <= set(isolation.PROBES)
