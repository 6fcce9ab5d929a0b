"""What can go wrong below the seam, in words the layers above can act upon.

After any of these the caller reads the state again before it decides: a libvirt error can mean that the work
was done, and a success can be overtaken by an event (docs/architecture.md, "Errors are questions").
"""


class HypervisorError(Exception):
    """Anything the hypervisor refused or could not do. `detail` is for staff, never for tenants."""

    code = "hypervisor_error"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail


class Unavailable(HypervisorError):
    """The hypervisor cannot be reached or did not answer in time. Retrying later is right."""

    code = "hypervisor_unavailable"


class NotFound(HypervisorError):
    """The domain, volume, pool or network does not exist."""

    code = "not_found"


class WrongState(HypervisorError):
    """The domain is in no state for this verb, such as starting one that runs."""

    code = "wrong_state"


class AlreadyExists(HypervisorError):
    """The name or UUID is taken by an object that is not what was asked for."""

    code = "already_exists"


class NoSpace(HypervisorError):
    """The pool or the host's memory is full."""

    code = "no_space"


class FileMissing(HypervisorError):
    """A file that a disk needs, its own or the image beneath it, is not on the host. Retrying brings nothing back."""

    code = "file_missing"


class AgentUnavailable(HypervisorError):
    """The guest agent is not connected, did not answer in time, or answered nonsense."""

    code = "agent_unavailable"


class BadSpec(HypervisorError):
    """The specification is not acceptable, or the domain made from it differs from it."""

    code = "bad_spec"


class NotSupported(HypervisorError):
    """This driver cannot do that (libvirt's mock driver has several such gaps)."""

    code = "not_supported"
