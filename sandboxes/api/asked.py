"""What the API takes about templates, sandboxes and runs. A field that is not here is refused."""

from typing import Annotated

from pydantic import Field

from vms.api.asked import Asked, Nothing, Ref, Text

from ..states import NetworkMode

__all__ = ["Extend", "NewRun", "NewSandbox", "NewTemplate", "Nothing", "Pool", "Restore", "Text"]

Network = Annotated[NetworkMode, Field(strict=False, description="none, isolated, or nat: out only.")]
Minutes = Annotated[int, Field(ge=1, lt=2**31)]


class NewTemplate(Asked):
    name: Text
    image: Ref
    flavor: Ref
    project: Ref | None = Field(None, description="Left out, it is everybody's, which staff alone make.")
    description: Text = ""
    ready_script: Text = Field("", description="Run by root once the guest has booted, at most 64 KiB: #!/bin/sh ...")
    share_ram: bool | None = Field(
        None, description="Clones share memory pages until they write; left out: if the template is everybody's."
    )
    network: Network = NetworkMode.NAT
    pool_size: int = Field(0, ge=0, le=50, description="Clones that wait on each node; staff.")
    lease_minutes: Minutes = 60
    idle_minutes: Minutes | None = Field(None, description="Pause what nobody used for so long.")


class Pool(Asked):
    pool_size: int = Field(ge=0, le=50)


class NewSandbox(Asked):
    template: Ref
    name: Text | None = Field(None, description="Left out, it is named after its template.")
    project: Ref | None = Field(None, description="An id or a name; your personal project where it is left out.")
    lease_minutes: Minutes | None = Field(None, description="Left out, the template's.")
    network: Network | None = Field(None, description="Left out, the template's.")


class Extend(Asked):
    minutes: Minutes = 60


class Restore(Asked):
    lease_minutes: Minutes | None = Field(None, description="Left out, the template's.")


class NewRun(Asked):
    """Either `command`, for the guest's shell, or `argv`, as it is."""

    command: Text = ""
    argv: list[Text] = []
    stdin: Text = Field("", description="At most 512 KiB; put a file into the sandbox for more.")
    env: dict[Annotated[Text, Field(max_length=100)], Text] = {}
    cwd: Text = Field("", description="A folder of the guest; left out, the home folder.")
    timeout_seconds: Annotated[int, Field(ge=1, le=24 * 3600)] = 3600
