"""What the API answers with about templates, sandboxes and runs."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field

from vms.api.shapes import Named, Operation, User, Vm
from vms.states import Status

from ..isolation import Result, Verdict
from ..states import BuildStatus, LeaseStatus, NetworkMode, RunStatus


class Build(BaseModel):
    """A template on one node. `fits`: clones can be made of it now."""

    id: UUID
    node: Named
    status: BuildStatus
    fits: bool
    reason: str
    detail: str
    output: str | None = Field(
        description="The end of what its script said. Null for those who may not change the template."
    )
    size_bytes: int
    waiting: int = Field(description="Clones that wait to be handed out.")
    ready_ms: int | None = Field(description="From request to ready, the last time.")
    boot_ms: int | None = Field(description="From power on to the guest's answer, when it was prepared.")
    idle_mib: int | None = Field(description="Memory that a waiting clone has for itself.")
    operation: UUID | None
    created_at: datetime
    frozen_at: datetime | None


class Template(Named):
    """What sandboxes are cloned from; `project` is null where it is everybody's."""

    description: str
    project: Named | None
    image: Named
    flavor: Named
    vcpus: int
    memory_mib: int
    disk_gib: int
    ready_script: str | None = Field(description="Null for those who may not change the template.")
    share_ram: bool
    network: NetworkMode
    pool_size: int
    lease_minutes: int
    idle_minutes: int | None
    builds: list[Build]
    created_at: datetime


class TemplateAndOperations(BaseModel):
    template: Template
    operations: list[Operation]


class Lease(BaseModel):
    """`seconds_left` counts down while `running`. Ended, the sandbox is kept, paused to disk, until `grace_until`."""

    status: LeaseStatus
    minutes: int
    seconds_left: int
    expires_at: datetime | None
    ended_at: datetime | None
    grace_until: datetime | None


class Sandbox(Named):
    """A machine with a lease; `id` is the machine's. `ready`: it runs, and has its own identity."""

    status: Status
    status_reason: str
    template: Named
    project: Named
    network: NetworkMode
    lease: Lease
    ready: bool
    claimed: bool = Field(description="It waited in the warm pool.")
    plain_reason: str = Field(description="Why it was booted and not cloned; empty where it was cloned.")
    ip_addresses: list[str]
    operation: Operation | None = Field(description="The one under way.")
    vm: Vm


class SandboxAndOperation(BaseModel):
    sandbox: Sandbox
    operation: Operation


class Probe(BaseModel):
    """One thing that was tried from inside; `nobody`: silence would say nothing, as nobody would have answered."""

    name: str
    result: Result
    label: str = Field(description="What was tried, in the language of Accept-Language.")
    said: str = Field(description="What came of it, likewise.")


class Isolation(BaseModel):
    """What the last check found. `held` counts probes; `problem` says why there are none."""

    sandbox: Named
    network: NetworkMode
    verdict: Verdict
    run: UUID | None = Field(description="The command that it is; its output is what the program said.")
    begun_at: datetime | None
    finished_at: datetime | None
    held: int
    probes: list[Probe]
    problem: str


class RunError(BaseModel):
    code: str
    detail: str


class Run(BaseModel):
    """A command in a sandbox. `exit_code` is null until it `exited`; the other ends say why there is none."""

    id: UUID
    sandbox: Named
    command: str
    argv: list[str]
    cwd: str
    timeout_seconds: int
    status: RunStatus
    exit_code: int | None
    signal: int | None
    error: RunError | None
    stdout_bytes: int = Field(description="That it wrote, kept or not.")
    stderr_bytes: int
    stdout_truncated: bool
    stderr_truncated: bool
    seconds: float | None = Field(description="How long it took, or has taken so far.")
    created_by: User
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Put(BaseModel):
    bytes: int
