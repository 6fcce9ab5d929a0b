"""`/healthz` and `/metrics`: is it alive, is it ready, and how much of what goes on."""

from collections.abc import Callable, Iterator
from typing import Any

import redis
from django.conf import settings
from django.db import Error, connection
from django.db.models import Count, Min, Sum
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from accounts.models import User
from accounts.services import authenticate_token
from vms.models import ConsoleSession, Node, Operation, VirtualMachine
from vms.overview import DUE_SINCE, WAITING
from vms.states import LIVE, is_away

from .errors import not_found

REDIS_TIMEOUT_SECONDS = 1.0


def database_state() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return "ok"


def redis_state() -> str:
    client = redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=REDIS_TIMEOUT_SECONDS, socket_connect_timeout=REDIS_TIMEOUT_SECONDS
    )
    try:
        client.ping()
    finally:
        client.close()
    return "ok"


def nodes_state() -> str:
    """Ready means that some node answers. A cordoned one does: its machines are served, and cordons are for staff."""
    now = timezone.now()
    nodes = list(Node.objects.all())
    here = [node for node in nodes if node.hypervisor_ok and not is_away(node.synced_at, now, settings.NODE_AWAY_AFTER)]
    if here:
        return "ok"
    return "no node has registered yet" if not nodes else "every node is away"


DEPENDENCIES: dict[str, Callable[[], str]] = {
    "database": database_state,
    "redis": redis_state,
    "nodes": nodes_state,
}


@never_cache
@require_safe
def healthz(request: HttpRequest, part: str = "") -> JsonResponse:
    """Return {live, ready, dependencies}; 503 while not ready. `/healthz/live` asks nothing of others."""
    if part == "live":
        return JsonResponse({"live": True})
    states = {name: _state(ask) for name, ask in DEPENDENCIES.items()}
    ready = all(state == "ok" for state in states.values())
    return JsonResponse({"live": True, "ready": ready, "dependencies": states}, status=200 if ready else 503)


def _state(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except (Error, redis.RedisError, OSError) as error:
        return f"away ({type(error).__name__})"


class PortalCollector(Collector):
    """Reads the figures from the database when they are asked for: every web process tells the same."""

    def collect(self) -> Iterator[Any]:
        now = timezone.now()
        operations = GaugeMetricFamily(
            "slipway_operations", "Operations in the journal by kind and status.", labels=["kind", "status"]
        )
        for row in Operation.objects.order_by().values("kind", "status").annotate(n=Count("id")):
            operations.add_metric([row["kind"], row["status"]], row["n"])
        yield operations
        due = Operation.objects.filter(WAITING).aggregate(oldest=Min(DUE_SINCE))["oldest"]
        age = max(0.0, (now - due).total_seconds()) if due else 0.0
        yield GaugeMetricFamily(
            "slipway_queue_age_seconds", "How long the oldest operation that is due has waited to be claimed.", age
        )
        taken_over = Operation.objects.filter(attempt__gt=1).count()
        yield GaugeMetricFamily(
            "slipway_operations_taken_over", "Operations that needed more than one claim.", taken_over
        )
        died = Operation.objects.aggregate(n=Sum("takeovers", default=0))["n"]
        yield GaugeMetricFamily("slipway_lease_takeovers", "Claims of operations whose worker had died.", died)
        live = Operation.objects.filter(status__in=LIVE).count()
        yield GaugeMetricFamily("slipway_operations_live", "Operations that wait or are under way.", live)
        machines = GaugeMetricFamily("slipway_vms", "Machines by what was observed.", labels=["observed_state"])
        for seen in VirtualMachine.objects.order_by().values("observed_state").annotate(n=Count("id")):
            machines.add_metric([seen["observed_state"]], seen["n"])
        yield machines
        yield GaugeMetricFamily("slipway_consoles_open", "Consoles that are open.", ConsoleSession.objects.count())
        lag = GaugeMetricFamily(
            "slipway_reconcile_lag_seconds", "Time since a node compared all domains.", labels=["node"]
        )
        for node in Node.objects.exclude(synced_at=None):
            lag.add_metric([node.name], (now - node.synced_at).total_seconds() if node.synced_at else 0.0)
        yield lag
        breaches = GaugeMetricFamily(
            "slipway_audit_breaches", "Broken invariants that a node's agent saw twice in a row.", labels=["node"]
        )
        for name, count in Node.objects.values_list("name", "breaches"):
            breaches.add_metric([name], count)
        yield breaches


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Return Prometheus' text format, to staff: by session, or by an API token of theirs."""
    header = request.headers.get("Authorization", "")
    token = authenticate_token(header.removeprefix("Bearer ").strip()) if header.startswith("Bearer ") else None
    user = token.user if token else request.user
    if not (isinstance(user, User) and user.is_active and user.is_staff):
        return not_found(request, Exception())
    registry = CollectorRegistry()
    registry.register(PortalCollector())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
