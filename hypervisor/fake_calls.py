"""How a call of the fake hypervisor begins: slow, away or refused if it was told so, and in the list of calls."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from . import errors
from .fake_host import FakeControls, FakeDomain, FakeHost
from .specs import DomainState

RUNNING, PAUSED, CRASHED = DomainState.RUNNING, DomainState.PAUSED, DomainState.CRASHED
ACTIVE = (RUNNING, PAUSED, CRASHED)

# What changes nothing. The order is the contract's.
READS = frozenset(
    {
        "host", "pool", "volumes", "volume", "addresses", "admitted", "domains", "domain", "state", "disk_paths",
        "own_memory", "fingerprint", "frozen", "agent", "screenshot", "open_graphics",
    }
)  # fmt: skip


class FakeCalls(FakeControls):
    """What the fake's verbs have in common."""

    @contextmanager
    def _call(self, verb: str) -> Iterator[FakeHost]:
        time.sleep(self._host.slow_seconds)  # as last read from the file, where there is one
        with self._open() as host:
            if host.away:
                raise errors.Unavailable("the host is away")
            waiting = host.failures.get(verb)
            if waiting:
                raise waiting.pop(0)
            if verb not in READS:
                host.calls.append(verb)
            yield host

    @contextmanager
    def _change(
        self, verb: str, uuid: UUID, legal: tuple[DomainState, ...], becomes: DomainState
    ) -> Iterator[FakeDomain]:
        with self._call(verb) as host:
            domain = in_state(host, uuid, *legal)
            domain.state, domain.reason = becomes, ""
            yield domain
        self._tell(uuid, "lifecycle")


def in_state(host: FakeHost, uuid: UUID, *legal: DomainState) -> FakeDomain:
    """The domain; NotFound when there is none, WrongState unless it is in one of these states."""
    domain = host.domain(uuid)
    if domain.state not in legal:
        raise errors.WrongState(f"the domain is {domain.state}")
    return domain
