"""A template's build is used only where it fits, and its memory only by whom it belongs to."""

import pytest

from accounts.models import User
from accounts.refusals import BadInput
from accounts.services import create_project
from portal.invariants import evaluate
from portal.node_agent import frozen
from sandboxes import services, sweeps
from sandboxes.models import Sandbox, Template, TemplateBuild
from sandboxes.models import template as recipes
from tests.portal.lab import make_lab, stub_gateway
from vms.models import Image
from vms.states import Role


@pytest.fixture
def lab(world, monkeypatch):
    stub_gateway(monkeypatch)
    return make_lab(world)


def another_qemu(lab, _patch):
    lab.world.hypervisor.set_fingerprint("fake 2")
    frozen.tend(lab.world.node, lab.world.hypervisor)


def another_image(_lab, _patch):
    Image.objects.filter(name="micro").update(sha256="1" * 64)


def another_preparation(_lab, patch):
    patch.setattr(recipes, "PREPARATION", "next")


CHANGES = [another_qemu, another_image, another_preparation]


@pytest.mark.parametrize("change", CHANGES)
def test_a_build_that_no_longer_fits_is_used_no_more(lab, monkeypatch, change):
    lab.prepared()
    [spare] = lab.spares()
    change(lab, monkeypatch)
    box = lab.sandbox()  # asked for before any sweep has noticed
    assert (lab.operation(box).kind, box.build, box.claimed) == ("create", None, False)
    assert "the template no longer fits" in box.plain_reason
    assert lab.again(spare).vm.role == Role.SPARE
    assert evaluate(lab.world.hypervisor) == []


@pytest.mark.parametrize("change", CHANGES)
def test_the_sweep_drains_its_clones_and_makes_it_anew(lab, monkeypatch, change):
    old = lab.prepared()
    lab.spares(2)
    change(lab, monkeypatch)
    assert sweeps.tend_pools() == (0, 2)
    lab.world.drain()
    assert not Sandbox.objects.exists()
    for _again in range(2):
        sweeps.tend_builds()
        assert TemplateBuild.objects.filter(status="building").count() == 1
    lab.world.drain()
    new = TemplateBuild.objects.get(status="ready")
    assert TemplateBuild.objects.get(pk=old.pk).status == "retired"
    assert (new.recipe, new.fingerprint) != (old.recipe, old.fingerprint)
    assert new.fingerprint == lab.world.hypervisor.fingerprint()
    assert {spare.build for spare in lab.spares(2)} == {new}
    assert lab.sandbox().claimed
    assert lab.sandbox("box-2").build == new
    assert evaluate(lab.world.hypervisor) == []


def test_a_host_that_changed_a_moment_ago_does_not_clone_either(lab):
    lab.prepared()
    lab.world.hypervisor.set_fingerprint("fake 2")  # the node agent has not seen it yet
    box = lab.sandbox()
    assert (lab.operation(box).kind, lab.operation(box).status) == ("clone", "failed")
    assert box.vm.domain_uuid not in lab.world.hypervisor._host.domains


def test_an_image_whose_clones_cannot_draw_their_own_random_numbers_is_booted(lab):
    lab.world.hypervisor.set_command(75, "")  # neither our listener nor Python nor Perl
    services.request_prepare(lab.world.actor("admin"), lab.template.pk)
    lab.world.drain()
    build = TemplateBuild.objects.get()
    assert (build.status, build.reason) == ("failed", "no_reseed")
    box = lab.sandbox()
    assert (lab.operation(box).kind, lab.operation(box).status) == ("create", "succeeded")
    assert "equal random numbers" in box.plain_reason


@pytest.mark.parametrize("by", ["id", "name"])
@pytest.mark.parametrize("is_staff", [False, True])
def test_a_projects_memory_is_mapped_by_no_other_project(lab, by, is_staff):
    """Alice is a member of both, and may as staff see everything."""
    User.objects.filter(username="alice").update(is_staff=is_staff)
    lab.world.alice.refresh_from_db()
    alice = lab.world.actor("alice")
    create_project(alice, "reef", lab.world.alice)
    asked = services.NewTemplate(name="secrets", image="micro", flavor="nano", project="harbor")
    template = services.request_template(alice, asked)
    lab.prepared(template)
    Template.objects.filter(pk=template.pk).update(pool_size=1)
    assert sweeps.tend_pools() == (1, 0)
    lab.world.drain()
    ref = {"id": str(template.pk), "name": "secrets"}[by]
    for project in ("reef", None):  # her own is another one, too
        with pytest.raises(BadInput):
            lab.sandbox(template=ref, project=project)
        answer = lab.world.api("alice").call("POST", "sandboxes", {"template": ref, "project": project})
        assert (answer.status_code, list(answer.json()["fields"])) == (422, ["template"])
    assert lab.sandbox(template=ref, project="harbor").claimed


def test_of_two_templates_of_one_name_a_project_gets_its_own_or_everybodys(lab):
    alice = lab.world.actor("alice")
    create_project(alice, "reef", lab.world.alice)
    own = services.request_template(
        alice, services.NewTemplate(name="micro", image="micro", flavor="nano", project="harbor")
    )
    assert lab.sandbox(project="harbor").template == own
    assert lab.sandbox(project="reef").template == lab.template
