"""Templates: made, prepared on nodes, taken away."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID, uuid4

from django.db import IntegrityError, transaction
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.access import Verb, get_project_for
from accounts.actor import Actor
from accounts.audit import record
from accounts.models import Project
from accounts.refusals import BadInput, Forbidden, InvalidState
from accounts.retrying import retried
from accounts.system import system_project, system_user
from vms import placement
from vms.models import Flavor, Image, Node, Operation, VirtualMachine, Volume
from vms.queries import find_image_and_flavor
from vms.sealing import seal
from vms.services.begin import journal
from vms.states import DesiredState, NetworkKind, OperationKind, Role
from vms.wellformed import Errors, check_text

from ..models import Template, TemplateBuild
from ..queries import get_template_for
from ..states import BuildStatus, NetworkMode
from . import wellformed


@dataclass(frozen=True, slots=True)
class NewTemplate:
    """What a person asks for. `project` None makes a template for everybody, which staff alone do.

    `share_ram` None: shared where it is everybody's. `pool_size` is set by staff alone.
    """

    name: str
    image: str
    flavor: str
    project: str | None = None
    description: str = ""
    ready_script: str = ""
    share_ram: bool | None = None
    network: str = NetworkMode.NAT
    pool_size: int = 0
    lease_minutes: int = 60
    idle_minutes: int | None = None


@retried
def request_template(actor: Actor, new: NewTemplate) -> Template:
    """Make a template. BadInput, NotVisible, Forbidden."""
    project = None if new.project is None else get_project_for(actor.who, new.project, Verb.CHANGE)
    if project is None and not actor.who.is_staff:
        raise Forbidden(_("Templates for everybody are made by staff. Name a project of yours for your own."))
    if new.pool_size and not actor.who.is_staff:
        raise Forbidden(_("How many clones wait is decided by staff."))
    image, flavor = _checked(new)
    try:
        with transaction.atomic():
            template = Template.objects.create(
                project=project, name=new.name, description=new.description, image=image, flavor=flavor,
                ready_script=new.ready_script, share_ram=project is None if new.share_ram is None else new.share_ram,
                network=new.network, pool_size=new.pool_size, lease_minutes=new.lease_minutes,
                idle_minutes=new.idle_minutes, created_by=actor.user,
            )  # fmt: skip
            record(actor, "template.create", project=project, kind="template", target=template.pk, name=template.name)
    except IntegrityError:
        raise BadInput({"name": [_("A template of this name exists already.")]}) from None
    return template


def _checked(new: NewTemplate) -> tuple[Image, Flavor]:
    errors: Errors = {}
    wellformed.check_template_name(new.name, errors)
    check_text("description", new.description, 300, errors)
    wellformed.check_script(new.ready_script, errors)
    wellformed.check_lease(new.lease_minutes, errors)
    wellformed.check_idle(new.idle_minutes, errors)
    wellformed.check_network(new.network, errors)
    if not 0 <= new.pool_size <= wellformed.POOL_AT_MOST:
        errors["pool_size"] = [_("At most %(n)s clones wait.") % {"n": wellformed.POOL_AT_MOST}]
    image, flavor = find_image_and_flavor(new.image, new.flavor, errors)
    if image and flavor and (problem := _does_not_fit(image, flavor)):
        errors["flavor"] = [problem]
    if errors or image is None or flavor is None:
        raise BadInput(errors)
    return image, flavor


def _does_not_fit(image: Image, flavor: Flavor) -> str | Promise | None:
    if flavor.disk_gib < image.min_disk_gib or flavor.memory_mib < image.min_memory_mib:
        return _("%(image)s needs %(memory)s MiB of memory and a disk of %(disk)s GiB. Pick a larger size.") % {
            "image": image.name, "memory": image.min_memory_mib, "disk": image.min_disk_gib,
        }  # fmt: skip
    return None


@retried
@transaction.atomic
def request_pool(actor: Actor, ref: UUID | str, pool_size: int) -> Template:
    """Say how many clones of a template wait on each node; staff alone."""
    template = get_template_for(actor.who, ref, Verb.CHANGE)
    if not actor.who.is_staff:
        raise Forbidden(_("How many clones wait is decided by staff."))
    if not 0 <= pool_size <= wellformed.POOL_AT_MOST:
        raise BadInput({"pool_size": [_("At most %(n)s clones wait.") % {"n": wellformed.POOL_AT_MOST}]})
    template.pool_size = pool_size
    template.save(update_fields=["pool_size"])
    record(
        actor, "template.pool", project=template.project, kind="template", target=template.pk, name=template.name,
        pool_size=pool_size,
    )  # fmt: skip
    return template


@retried
@transaction.atomic
def request_retire(actor: Actor, ref: UUID | str) -> None:
    """Take a template away: nothing new is made of it, what was made lives on. Clones that wait go (sweeps)."""
    template = get_template_for(actor.who, ref, Verb.CHANGE)
    Template.objects.filter(pk=template.pk).update(active=False)
    TemplateBuild.objects.filter(template=template, status=BuildStatus.READY).update(status=BuildStatus.RETIRED)
    record(actor, "template.delete", project=template.project, kind="template", target=template.pk, name=template.name)


@retried
@transaction.atomic
def request_prepare(actor: Actor, ref: UUID | str) -> tuple[Template, list[Operation]]:
    """Begin to prepare a template on every node that takes machines; where it is under way, that is the answer."""
    template = get_template_for(actor.who, ref, Verb.CHANGE)
    nodes = list(placement.nodes_ok())
    if not nodes:
        raise placement.NoRoom(_("No node takes new machines right now. An admin has to look at the nodes."))
    operations = [prepare_on(actor, template, node) for node in nodes]
    record(
        actor, "template.prepare", project=template.project, kind="template", target=template.pk, name=template.name,
        operations=[str(operation.pk) for operation in operations],
    )  # fmt: skip
    return template, operations


def prepare_on(actor: Actor, template: Template, node: Node) -> Operation:
    """Begin to prepare a template on a node; the caller is in a transaction. InvalidState, placement.NoRoom."""
    if not template.image.has_agent:
        raise InvalidState(_("This image has no guest agent, without which nobody can tell when it is ready."))
    Template.objects.select_for_update(no_key=True).get(pk=template.pk)
    under_way = TemplateBuild.objects.filter(template=template, node=node, status=BuildStatus.BUILDING).first()
    if under_way is not None:
        live = Operation.objects.filter(pk=under_way.operation_id or under_way.pk).first()
        if live is not None:
            return live
    place = placement.choose(template.flavor.memory_mib, NetworkKind.NAT, among={node.pk})
    build = TemplateBuild.objects.create(
        id=uuid4(), template=template, node=node, recipe=template.recipe, fingerprint=node.fingerprint,
        vcpus=template.flavor.vcpus, memory_mib=template.flavor.memory_mib, disk_gib=template.flavor.disk_gib,
    )  # fmt: skip
    builder = _make_builder(build, place)
    operation = journal(actor, builder, OperationKind.PREPARE, {})
    if template.project is not None:  # its people may see how far it is
        Operation.objects.filter(pk=operation.pk).update(project=template.project)
        operation.project = template.project
    TemplateBuild.objects.filter(pk=build.pk).update(operation_id=operation.pk)
    return operation


def _make_builder(build: TemplateBuild, place: placement.Place) -> VirtualMachine:
    project: Project = system_project()
    template = build.template
    builder = VirtualMachine.objects.create(
        id=build.pk, role=Role.BUILDER, project=project, created_by=system_user(project),
        name=f"build-{build.pk.hex[:12]}", node=place.node, image=template.image, flavor=template.flavor,
        vcpus=build.vcpus, memory_mib=build.memory_mib, disk_gib=build.disk_gib, desired_state=DesiredState.RUNNING,
        sealed_seed=seal({"ssh_keys": [], "password_hash": "", "user_data": ""}),
    )  # fmt: skip
    Volume.objects.create(vm=builder, pool=place.pool, base_image=template.image, size_gib=build.disk_gib)
    placement.give_card(builder, place.network)
    return builder


def prepared_on(template: Template) -> Collection[UUID]:
    """Return the nodes on which a template has a build of this very recipe, ready or under way."""
    rows = TemplateBuild.objects.filter(
        template=template, recipe=template.recipe, status__in=(BuildStatus.READY, BuildStatus.BUILDING)
    )
    return set(rows.values_list("node_id", flat=True))
