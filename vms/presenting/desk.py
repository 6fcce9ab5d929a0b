"""What needs staff, in words: nodes that do not answer, pools that fill, work that stands still, failures."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import overview
from ..models import Operation, StoragePool, VirtualMachine
from ..overview import NodeView
from ..steps import STEPS, steps_of
from . import amounts
from .operations import OperationCard

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Act:
    """A way on: a link, or a question in a dialog."""

    href: str
    label: str | Promise
    dialog: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that needs somebody. `joint` stands between name and headline, `since` after them."""

    key: str
    glyph: str
    name: str
    href: str
    headline: str
    text: str = ""
    since: datetime | None = None
    acts: tuple[Act, ...] = ()
    detail: str = ""
    joint: str = " "


def attention(nodes: list[NodeView]) -> list[Item]:
    """Return what needs staff now, the most urgent first."""
    now = timezone.now()
    items = [item for view in nodes for item in _about_node(view)]
    items += [_full(view, pool) for view in nodes for pool in view.pools if fullness(pool) >= overview.POOL_NEARLY_FULL]
    items += [_unclaimed(operation) for operation in overview.unclaimed(now)]
    items += [_foreign(vm) for vm in overview.with_foreign_devices()]
    items += [_failed(operation) for operation in overview.failed_lately(now)]
    return items


def _about_node(view: NodeView) -> Iterator[Item]:
    node = view.node
    look = Act(reverse("desk:nodes") + f"#node-{node.pk}", _("Look"))
    cordon = Act(reverse("desk:cordon", args=[node.pk]), _("Cordon"), dialog=True)
    acts = (look,) if node.cordoned else (look, cordon)
    href = look.href
    if view.away:
        counted = ngettext("%(n)s machine shows as unknown.", "%(n)s machines show as unknown.", view.machines)
        text = counted % {"n": view.machines} + " " + _("None is started elsewhere.")
        if node.synced_at is None:
            yield Item(f"node-{node.pk}", "unknown", node.name, href, _("has never been heard of"), text, None, acts)
        else:
            yield Item(f"node-{node.pk}", "unknown", node.name, href, _("is away since"), text, node.synced_at, acts)
    elif not node.hypervisor_ok:
        text = _("Its agent is there, but libvirt does not answer it. Guests keep running; acts on them wait.")
        yield Item(f"node-{node.pk}", "error", node.name, href, _("has no hypervisor"), text, None, acts)


def fullness(pool: StoragePool) -> float:
    """Return which share of a pool is in use, 0 to 1."""
    return 1 - pool.free_bytes / pool.capacity_bytes if pool.capacity_bytes else 0.0


def _full(view: NodeView, pool: StoragePool) -> Item:
    return Item(
        f"pool-{pool.pk}",
        "error" if fullness(pool) > 0.95 else "wait",
        f"{view.node.name}/{pool.name}",
        reverse("desk:capacity") + "#disk",
        _("is %(percent)s %% full") % {"percent": round(100 * fullness(pool))},
        _("%(free)s left. A full pool stops the machines that write to it.")
        % {"free": amounts.gib(pool.free_bytes / GIB)},
        acts=(Act(reverse("desk:machines") + f"?q={view.node.name}", _("What is on it")),),
    )


def _look_at(operation: Operation) -> tuple[Act, ...]:
    return (Act(reverse("operation", args=[operation.pk]), _("Look")),)


def _vm(operation: Operation) -> str:
    return reverse("vms:detail", args=[operation.vm_id])


def _unclaimed(operation: Operation) -> Item:
    return Item(
        f"op-{operation.pk}",
        "wait",
        operation.vm_name,
        _vm(operation),
        _("%(doing)s, but nobody works on it since") % {"doing": OperationCard(operation).title},
        _("The worker of %(node)s does not take it, or it died. It is rung again every few seconds.")
        % {"node": operation.node.name},
        operation.lease_expires_at or operation.created_at,
        _look_at(operation),
        joint=_(": "),
    )


def _foreign(vm: VirtualMachine) -> Item:
    return Item(
        f"foreign-{vm.pk}",
        "wait",
        vm.name,
        reverse("vms:detail", args=[vm.pk]),
        _("has devices that Slipway did not give it"),
        _("Somebody attached them on %(node)s. Once it is off, its next start leaves them out.")
        % {"node": vm.node.name},
        acts=(Act(reverse("vms:detail", args=[vm.pk]), _("Look")),),
        detail=vm.foreign_devices,
    )


def _failed(operation: Operation) -> Item:
    steps = steps_of(operation.kind, operation.starts) if operation.kind in STEPS else ()
    names = {step.name: step.doing for step in steps}
    where = str(names.get(operation.step, ""))
    return Item(
        f"op-{operation.pk}",
        "no",
        operation.vm_name,
        _vm(operation),
        f"{OperationCard(operation).title}" + (f" ({where})" if where else ""),
        _("%(who)s sees: %(sentence)s")
        % {"who": operation.actor.username if operation.actor else "Slipway", "sentence": operation.error_detail},
        operation.finished_at,
        _look_at(operation),
        operation.staff_detail,
        joint=_(": "),
    )


def summary(items: list[Item], nodes: list[NodeView]) -> str:
    """Say in one line how things are."""
    away = sum(view.away for view in nodes)
    if not nodes:
        return _("No node has registered yet: no machine can be made.")
    if not items:
        return _("All nodes answer, nothing stands still, nothing failed within a day.")
    found = []
    if away:
        found.append(ngettext("%(n)s node is away.", "%(n)s nodes are away.", away) % {"n": away})
    else:
        found.append(_("All nodes answer."))
    rest = len(items) - away
    if rest:
        found.append(ngettext("%(n)s more thing to look at.", "%(n)s more things to look at.", rest) % {"n": rest})
    return " ".join(found)
