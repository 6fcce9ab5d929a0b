"""Leases: who may work on an operation, until when, by the database's clock; and the thread that renews them."""

import os
import socket
import threading
from dataclasses import dataclass
from uuid import UUID

import structlog
from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection
from django.db.models import Case, Exists, F, OuterRef, Q, Value, When
from django.db.models.functions import Coalesce, Now

from accounts.retrying import retried

from ..models import Operation
from ..states import OperationStatus

log = structlog.get_logger(__name__)


def worker_name() -> str:
    """Name this process and thread, for people who look at leases."""
    return f"{socket.gethostname()}:{os.getpid()}:{threading.get_native_id()}"


@dataclass(frozen=True, slots=True)
class Lease:
    """A claim that was granted: `fence` is the number that no later claim shares."""

    operation_id: UUID
    owner: str
    fence: int

    def rows(self) -> Q:
        """The operation, as long as it is ours to work on."""
        return Q(pk=self.operation_id, lease_owner=self.owner, fence=self.fence, status=OperationStatus.RUNNING)


@retried
def claim(operation_id: UUID, owner: str) -> Lease | None:
    """Take an operation that waits, or whose lease ran out; None when somebody else has it or it has ended.

    Not before its time, and not while the worker of a pre-empted operation on the same machine still holds on.
    """
    others = Operation.objects.filter(vm=OuterRef("vm"), lease_expires_at__gt=Now()).exclude(pk=OuterRef("pk"))
    dead = Q(lease_expires_at__lte=Now()) | Q(lease_expires_at=None)  # none: let go of without an end
    free = Q(status=OperationStatus.PENDING) | Q(status=OperationStatus.RUNNING) & dead
    claimed = (
        Operation.objects.filter(free, Q(not_before=None) | Q(not_before__lte=Now()), ~Exists(others), pk=operation_id)
    ).update(
        status=OperationStatus.RUNNING,
        lease_owner=owner,
        lease_expires_at=Now() + settings.OPERATION_LEASE,
        fence=F("fence") + 1,
        attempt=F("attempt") + 1,
        takeovers=F("takeovers") + Case(When(status=OperationStatus.RUNNING, then=1), default=0),
        started_at=Coalesce(F("started_at"), Now()),
        not_before=None,
    )
    if not claimed:
        return None
    row = Operation.objects.filter(pk=operation_id, lease_owner=owner).values_list("fence", flat=True).first()
    return Lease(operation_id, owner, row) if row is not None else None


def release(lease: Lease) -> None:
    """Let go of an operation, ended or taken away, so that its successor need not wait for the lease to run out."""
    Operation.objects.filter(pk=lease.operation_id, lease_owner=lease.owner).update(
        lease_owner="", lease_expires_at=Value(None)
    )


class LeaseKeeper:
    """Renews every lease of this process with one UPDATE each third of their time."""

    def __init__(self) -> None:
        self._held: dict[UUID, Lease] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = 0

    def hold(self, lease: Lease) -> None:
        with self._lock:
            self._held[lease.operation_id] = lease
            if self._thread is None or self._pid != os.getpid():
                self._pid = os.getpid()
                self._thread = threading.Thread(target=self._renew_for_ever, name="leases", daemon=True)
                self._thread.start()

    def drop(self, lease: Lease) -> None:
        with self._lock:
            self._held.pop(lease.operation_id, None)

    def _renew_for_ever(self) -> None:
        period = settings.OPERATION_LEASE.total_seconds() / 3
        while not self._wake.wait(period):
            try:
                self.renew()
            except DatabaseError as error:  # the next round may succeed; the fence protects in the meantime
                log.warning("leases_not_renewed", error=type(error).__name__)
            finally:
                close_old_connections()
        connection.close()

    def renew(self) -> None:
        """Renew what we hold and is still ours."""
        with self._lock:
            held = list(self._held.values())
        if held:
            ours = Q()
            for lease in held:
                ours |= lease.rows()
            Operation.objects.filter(ours).update(lease_expires_at=Now() + settings.OPERATION_LEASE)


keeper = LeaseKeeper()
__all__ = ["Lease", "LeaseKeeper", "claim", "keeper", "release", "worker_name"]
