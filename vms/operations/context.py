"""What a step handler gets: the rows, the hypervisor, and the two questions to ask before touching anything."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.db import connection
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from hypervisor.api import Hypervisor
from hypervisor.specs import DomainFacts, DomainState

from .. import broadcast, observer
from ..models import Operation, VirtualMachine
from .leases import Lease


class StepFailed(Exception):
    """The operation cannot succeed: a code for programs, a sentence for people, a detail for staff."""

    def __init__(self, code: str, sentence: str, staff_detail: str = "") -> None:
        super().__init__(sentence)
        self.code, self.sentence, self.staff_detail = code, sentence, staff_detail


class Fenced(Exception):
    """The operation is no longer ours: pre-empted, cancelled, or taken over. Touch nothing more."""


class CancelAsked(Exception):
    """A person asked to cancel; we still hold the operation and end it properly."""


@dataclass(slots=True)
class Context:
    """One attempt at one operation."""

    operation: Operation
    vm: VirtualMachine
    hypervisor: Hypervisor
    lease: Lease
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    rows: dict[str, Any] = field(default_factory=dict, init=False)  # what one attempt reads once
    _question: tuple[str, tuple[Any, ...]] | None = field(default=None, init=False)

    def may_go_on(self) -> Q:
        """Select the operation's row if `guard` would let it pass."""
        return self.lease.rows() & Q(cancel_requested=False) & ~Q(deadline_at__lte=Now())

    def guard(self) -> None:
        """Raise Fenced, CancelAsked or StepFailed unless the operation is ours and has time left.

        Called right before each side effect, and while waiting; the deadline is told by the database's clock. An
        operation asks some ten times: it is put into SQL once, which takes eight times as long as the answer.
        """
        if self._question is None:
            rows = Operation.objects.filter(self.lease.rows()).annotate(late=Q(deadline_at__lte=Now()))
            self._question = rows.values_list("cancel_requested", "late").query.sql_with_params()
        with connection.cursor() as cursor:
            cursor.execute(*self._question)
            row = cursor.fetchone()
        if row is None:
            raise Fenced
        cancel_requested, late = row
        if cancel_requested:
            raise CancelAsked
        if late:
            raise StepFailed("deadline", _("This took longer than it may, and was given up."))

    def domain(self) -> DomainFacts | None:
        return self.hypervisor.domain(self.vm.domain_uuid)

    def state(self) -> DomainState | None:
        return self.hypervisor.state(self.vm.domain_uuid)

    def observe(self) -> DomainFacts | None:
        """Read the domain back and let the observer store it."""
        found = self.domain()
        observer.observe(self.vm.pk, self.vm.domain_uuid, found)
        return found

    def remember(self, **data: Any) -> None:
        """Keep a fact of this operation for a later attempt."""
        self.operation.data = {**self.operation.data, **data}
        if not Operation.objects.filter(self.lease.rows()).update(data=self.operation.data):
            raise Fenced

    def wait_until(self, condition: Callable[[], bool], timeout_seconds: float, first_seconds: float = 0.05) -> bool:
        """Ask until it is true, ever more slowly up to a second; False when the time is over. Guards between."""
        deadline = self.clock() + timeout_seconds
        pause = first_seconds
        while True:
            if condition():
                return True
            left = deadline - self.clock()
            if left <= 0:
                return False
            self.sleep(min(pause, left))
            pause = min(pause * 1.5, 1.0)
            self.guard()

    def announce(self) -> None:
        """Hint browsers that the operation moved on: at once, or when the transaction around this has committed."""
        broadcast.operation_changed(self.operation)
