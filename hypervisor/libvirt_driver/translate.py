"""libvirt's errors and states in our words. Source of the numbers: the names of libvirt's public headers."""

import errno

import libvirt

from hypervisor import errors
from hypervisor.specs import DomainState

_BY_CODE: dict[int, type[errors.HypervisorError]] = {
    libvirt.VIR_ERR_NO_DOMAIN: errors.NotFound,
    libvirt.VIR_ERR_NO_STORAGE_POOL: errors.NotFound,
    libvirt.VIR_ERR_NO_STORAGE_VOL: errors.NotFound,
    libvirt.VIR_ERR_NO_NETWORK: errors.NotFound,
    libvirt.VIR_ERR_NO_NWFILTER: errors.NotFound,
    libvirt.VIR_ERR_OPERATION_INVALID: errors.WrongState,
    libvirt.VIR_ERR_RESOURCE_BUSY: errors.WrongState,
    libvirt.VIR_ERR_DOM_EXIST: errors.AlreadyExists,
    libvirt.VIR_ERR_NETWORK_EXIST: errors.AlreadyExists,
    libvirt.VIR_ERR_STORAGE_VOL_EXIST: errors.AlreadyExists,
    libvirt.VIR_ERR_AGENT_UNRESPONSIVE: errors.AgentUnavailable,
    libvirt.VIR_ERR_AGENT_UNSYNCED: errors.AgentUnavailable,
    libvirt.VIR_ERR_NO_SUPPORT: errors.NotSupported,
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED: errors.NotSupported,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED: errors.NotSupported,
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED: errors.BadSpec,
    libvirt.VIR_ERR_XML_ERROR: errors.BadSpec,
    libvirt.VIR_ERR_XML_DETAIL: errors.BadSpec,
    libvirt.VIR_ERR_XML_INVALID_SCHEMA: errors.BadSpec,
    libvirt.VIR_ERR_INVALID_ARG: errors.BadSpec,
    libvirt.VIR_ERR_OPERATION_TIMEOUT: errors.Unavailable,
    libvirt.VIR_ERR_NO_CONNECT: errors.Unavailable,
    libvirt.VIR_ERR_INVALID_CONN: errors.Unavailable,
    libvirt.VIR_ERR_RPC: errors.Unavailable,
    libvirt.VIR_ERR_AUTH_FAILED: errors.Unavailable,
}

_NO_SPACE_WORDS = ("No space left on device", "Cannot allocate memory", "cannot set up guest memory")

# ebtables answers so when somebody else changed the packet filter meanwhile; nothing is left of the attempt.
_FILTER_RACE = "Failed to apply firewall rules"

_REASONS: dict[tuple[int, int], str] = {
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER): "user",
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR): "io_error",
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_WATCHDOG): "watchdog",
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_MIGRATION): "migration",
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP): "starting_up",
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_SHUTTING_DOWN): "shutting_down",
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_SNAPSHOT): "snapshot",
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN): "shutdown",
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED): "destroyed",
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_CRASHED): "crashed",
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_FAILED): "failed",
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_SAVED): "saved",
    (libvirt.VIR_DOMAIN_CRASHED, libvirt.VIR_DOMAIN_CRASHED_PANICKED): "panicked",
}

_STATES = {
    libvirt.VIR_DOMAIN_NOSTATE: DomainState.RUNNING,
    libvirt.VIR_DOMAIN_RUNNING: DomainState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: DomainState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: DomainState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: DomainState.RUNNING,
    libvirt.VIR_DOMAIN_SHUTOFF: DomainState.STOPPED,
    libvirt.VIR_DOMAIN_CRASHED: DomainState.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: DomainState.PAUSED,
}


def translate(error: libvirt.libvirtError) -> errors.HypervisorError:
    """The error of ours that says what libvirt's error means."""
    text = str(error)
    if error.get_int1() == errno.ENOSPC or any(words in text for words in _NO_SPACE_WORDS):
        return errors.NoSpace(text)
    if error.get_error_domain() == libvirt.VIR_FROM_RPC:  # the socket, not what was asked for
        return errors.Unavailable(text)
    if met_another_filter_change(error):
        return errors.Unavailable(text)
    known = _BY_CODE.get(error.get_error_code())
    if known is None and "No such file or directory" in text:
        return errors.FileMissing(text)
    return (known or errors.HypervisorError)(text)


def met_another_filter_change(error: libvirt.libvirtError) -> bool:
    """Whether libvirt gave up because its filter's rules and another change met: to try again is right."""
    return _FILTER_RACE in str(error)


def domain_state(state: int, reason: int, *, saved: bool) -> tuple[DomainState, str]:
    """Our state and reason. `saved`: a saved memory image waits for the next start."""
    known = _STATES.get(state, DomainState.RUNNING)
    if known is DomainState.STOPPED and saved:
        return DomainState.SUSPENDED, "saved"
    if state == libvirt.VIR_DOMAIN_PMSUSPENDED:
        return known, "guest_sleep"
    if state == libvirt.VIR_DOMAIN_SHUTDOWN:
        return known, "shutting_down"
    return known, _REASONS.get((state, reason), "")
