"""Reading on somebody's behalf: the one door to a template, a sandbox and a run."""

from collections.abc import Callable, Iterable
from uuid import UUID

from django.db.models import BooleanField, Case, Count, ExpressionWrapper, IntegerField, Prefetch, Q, QuerySet, When
from django.utils.translation import gettext_lazy as _

from accounts import access
from accounts.access import Verb
from accounts.models import Membership, Project, User
from accounts.refusals import BadInput, Forbidden, NotVisible
from vms.models import Node, VirtualMachine
from vms.queries import get_vm_for, project_ids_of, visible_vms, with_details
from vms.states import Role

from .models import Run, Sandbox, Template, TemplateBuild
from .states import BuildStatus


def visible_templates(user: User, everything: bool = False) -> QuerySet[Template]:
    """Return the templates on offer: everybody's, and those of the user's projects (staff: all)."""
    rows = Template.objects.filter(active=True).select_related("image", "flavor", "project", "created_by")
    if not user.is_active:
        return rows.none()
    if everything and user.is_staff:
        return rows
    return rows.filter(Q(project=None) | Q(project__in=project_ids_of(user)))


def with_builds(rows: QuerySet[Template]) -> QuerySet[Template]:
    """Add each template's builds that matter, newest first, with their nodes."""
    builds = TemplateBuild.objects.exclude(status=BuildStatus.RETIRED).select_related("node").defer("screenshot")
    pictured = ExpressionWrapper(Q(screenshot__isnull=False), output_field=BooleanField())
    builds = builds.annotate(pictured=pictured)
    return rows.prefetch_related(Prefetch("builds", builds.order_by("-created_at"), "shown_builds"))


def get_template_for(user: User, ref: str | UUID, verb: Verb = Verb.SEE) -> Template:
    """Return the template with this id or name; NotVisible, Forbidden. Everybody's are changed by staff alone."""
    template = _template(with_builds(visible_templates(user, everything=True)), ref, None)
    if template is None:
        raise NotVisible
    if template.project_id is not None:
        access.check(user, template.project_id, verb)
    elif verb != Verb.SEE and not user.is_staff:
        raise Forbidden(_("This template is everybody's: only staff change it."))
    return template


def template_gate(user: User) -> Callable[[Template], bool]:
    """Return what tells whether this user may change a template, and so read its script. One query for all of them."""
    roles: dict[UUID | None, str] = dict(Membership.objects.filter(user=user).values_list("project", "role"))

    def may_change(template: Template) -> bool:
        return user.is_staff or access.allows(roles.get(template.project_id), Verb.CHANGE)

    return may_change


def find_template(user: User, ref: str | UUID, project: Project) -> Template:
    """Return the template that a new sandbox of this project is made from: the project's own before everybody's.

    BadInput where there is none. Another project's is none of its business: its memory may hold that one's data.
    """
    rows = visible_templates(user, everything=True).filter(Q(project=None) | Q(project=project))
    template = _template(rows, ref, project)
    if template is None:
        raise BadInput({"template": [_("There is no such template.")]})
    return template


def _template(rows: QuerySet[Template], ref: str | UUID, project: Project | None) -> Template | None:
    found = access.as_uuid(ref)
    if found is None and not str(ref).isprintable():  # zero bytes, which a database refuses
        return None
    rows = rows.filter(Q(pk=found) if found else Q(name=str(ref)))
    own = Case(When(project=project, then=0), default=1, output_field=IntegerField())
    return rows.order_by(own, "id").first()


def fitting_builds(template: Template, nodes: Iterable[UUID] | None = None) -> list[TemplateBuild]:
    """Return the builds that clones can be made from now: frozen from this recipe, on nodes that are as they were."""
    rows = TemplateBuild.objects.filter(template=template, status=BuildStatus.READY, recipe=template.recipe)
    if nodes is not None:
        rows = rows.filter(node__in=list(nodes))
    found = [
        build
        for build in rows.select_related("node").defer("screenshot")
        if build.fingerprint == build.node.fingerprint
    ]
    for build in found:
        build.template = template  # with what its reader has joined to it already
    return found


def visible_sandboxes(user: User, everything: bool = False) -> QuerySet[Sandbox]:
    """Return the sandboxes of the user's projects; `everything` is the desk's view and needs staff."""
    rows = visible_vms(user, everything).filter(role=Role.SANDBOX)
    return Sandbox.objects.filter(vm__in=rows)


def sandboxes_with_details(rows: QuerySet[Sandbox]) -> QuerySet[Sandbox]:
    """Add what a row or page shows: a constant number of queries for any number of sandboxes."""
    machines = with_details(VirtualMachine.objects.all())
    return (
        rows.select_related("template", "build").defer("build__screenshot").prefetch_related(Prefetch("vm", machines))
    )


def get_sandbox_for(user: User, vm_id: UUID | str, verb: Verb = Verb.SEE, *, lock: bool = False) -> Sandbox:
    """Return the sandbox if the user may see it, checking `verb`: NotVisible, Forbidden. `lock`: its machine's."""
    vm = get_vm_for(user, vm_id, verb, lock=lock)
    sandbox = Sandbox.objects.select_related("template", "build").filter(vm=vm, vm__role=Role.SANDBOX).first()
    if sandbox is None:
        raise NotVisible
    sandbox.vm = vm
    return sandbox


def get_run_for(user: User, run_id: UUID | str, verb: Verb = Verb.SEE) -> Run:
    """Return the run if the user may see its project's machines; NotVisible, Forbidden."""
    found = access.as_uuid(run_id)
    rows = Run.objects.select_related("vm", "vm__node", "vm__project", "created_by").defer("stdin")
    run = rows.filter(pk=found).first() if found else None
    if run is None:
        raise NotVisible
    access.check(user, run.vm.project_id, verb)
    return run


def spares_by_build(node: Node | None = None) -> dict[UUID, int]:
    """Return how many clones wait for each build, those in the making included."""
    rows = Sandbox.objects.filter(vm__role=Role.SPARE, build__isnull=False).exclude(vm__desired_state="deleted")
    if node is not None:
        rows = rows.filter(vm__node=node)
    return dict(rows.order_by().values_list("build").annotate(n=Count("id")))
