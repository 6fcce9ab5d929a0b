"""What a clone and its template must have in common: the template's device state fits no other hardware."""

from .specs import DomainSpec

Shape = dict[str, str | int | bool]
# Of the hardware that all domains have alike: counted up whenever domain_devices gives another, so that templates are
# made anew. 2: four serial ports.
DEVICES = 2


def shape_of(spec: DomainSpec) -> Shape:
    """The hardware of a domain as far as QEMU's device state depends on it; also as JSON values."""
    return {
        "virt_type": spec.virt_type,
        "cpu": spec.cpu,
        "arch": spec.arch,
        "machine": spec.machine,
        "vcpus": spec.vcpus,
        "memory_mib": spec.memory_mib,
        "disks": len(spec.disks),
        "seed": spec.seed_path is not None,
        "nics": len(spec.nics),
        "identity": spec.identity_socket is not None,
        "run": spec.run_socket is not None,
    }


def misfits(spec: DomainSpec, template: Shape) -> list[str]:
    """In what a clone differs from its template; empty where the frozen state fits."""
    own = shape_of(spec)
    found = [
        f"{name} {own.get(name)!r} instead of {template.get(name)!r}"
        for name in sorted({*own, *template})
        if own.get(name) != template.get(name)
    ]
    return [*found, "memory of its own file"] if spec.memory is not None else found
