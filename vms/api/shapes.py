"""What the API answers with. Sizes name their unit, times are RFC 3339 in UTC, ids are UUIDs."""

from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, Field

from accounts.models import ApiToken, Role

from ..states import DesiredState, ObservedState, OperationKind, OperationStatus, Status

T = TypeVar("T")
Limits = dict[str, int | None]
Usage = dict[str, int]


class Named(BaseModel):
    """Another thing, by id and name."""

    id: UUID
    name: str


class Page(BaseModel, Generic[T]):
    """A page of a list; `next` goes into `?cursor=` for the page after it, null at the end."""

    items: list[T]
    next: str | None


class User(BaseModel):
    id: UUID
    username: str


class Me(User):
    email: str
    is_staff: bool


class MyProject(Named):
    """A project of yours, what it may use and what it does (by dimension; null is unlimited)."""

    role: Role
    personal: bool
    limits: Limits
    usage: Usage


class Account(BaseModel):
    user: Me
    projects: list[MyProject]


class Flavor(Named):
    vcpus: int
    memory_mib: int
    disk_gib: int


class Image(Named):
    title: str
    description: str
    min_memory_mib: int
    min_disk_gib: int
    size_bytes: int
    default_user: str
    created_at: datetime


class OperationError(BaseModel):
    """Why an operation failed or was cancelled: a code for programs, a sentence for people."""

    code: str
    detail: str


class OperationVm(BaseModel):
    """The machine of an operation, which may be gone by now."""

    id: UUID | None
    name: str


class Operation(BaseModel):
    id: UUID
    kind: OperationKind | str  # one that a newer version made is shown by its name
    status: OperationStatus
    step: str
    progress: int = Field(description="Per cent.")
    attempt: int
    created_at: datetime
    finished_at: datetime | None
    error: OperationError | None
    vm: OperationVm


class Load(BaseModel):
    """What a running machine used between the last two samples; null where that is not known."""

    at: datetime
    cpu_percent: float | None = Field(description="Of all its processors together: 100 is all of them busy.")
    memory_used_mib: int | None
    disk_bytes_per_second: int | None
    net_bytes_per_second: int | None


class Vm(BaseModel):
    """`status` is what a person sees; `observed_state` is what the node saw, and was still so at `observed_at`."""

    id: UUID
    domain_uuid: UUID
    name: str
    description: str
    status: Status
    status_reason: str
    desired_state: DesiredState
    observed_state: ObservedState
    observed_at: datetime | None
    vcpus: int
    memory_mib: int
    disk_gib: int
    image: Named
    flavor: Named
    node: Named
    project: Named
    ip_addresses: list[str]
    operation: Operation | None = Field(description="The one under way.")
    load: Load | None = Field(description="Sampled every 30 s while it runs.")
    created_by: User
    created_at: datetime
    version: int = Field(description="Grows with every change; events carry it.")


class VmAndOperation(BaseModel):
    vm: Vm
    operation: Operation


class OperationOnly(BaseModel):
    operation: Operation


class ConsoleTicket(BaseModel):
    """Open a websocket at `url` with the subprotocols `protocols` before `expires_at`; the ticket works once."""

    url: str
    ticket: str
    protocols: list[str]
    expires_at: datetime


class Quota(BaseModel):
    """By dimension; null is unlimited, 0 is none. `member_limits` are by user name, within the project's."""

    limits: Limits
    usage: Usage
    member_limits: dict[str, Limits]


class Member(BaseModel):
    user: User
    role: Role
    created_at: datetime


class Token(Named):
    """`hint` is the end of the secret, to tell tokens apart."""

    hint: str
    scope: ApiToken.Scope
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class TokenWithSecret(BaseModel):
    """The secret is shown here and never again."""

    token: Token
    secret: str


class Pool(BaseModel):
    name: str
    capacity_bytes: int
    free_bytes: int


class Node(Named):
    """`away`: it has not compared its domains with the database for too long; its machines read unknown."""

    virt_type: str
    arch: str
    cpu_model: str
    vcpus: int
    memory_mib: int
    memory_free_mib: int
    cordoned: bool
    cordon_reason: str
    hypervisor_ok: bool
    away: bool
    synced_at: datetime | None
    vms: int
    pools: list[Pool]


class AuditTarget(BaseModel):
    kind: str
    id: UUID | None
    name: str


class AuditEntry(BaseModel):
    """Who did what to what, when."""

    id: int
    at: datetime
    actor: str
    via: str
    action: str
    project: Named | None
    target: AuditTarget
    data: dict[str, Any]
    request_id: str
    address: str | None
