"""From rows to specs: all hardware policy stands here, and no XML does."""

from pathlib import PurePosixPath

from django.conf import settings

from hypervisor.specs import DiskSpec, DomainSpec, MemorySpec, NicSpec, OwnerTag, SeedSpec, VolumeSpec

from ..models import Image, Nic, VirtualMachine, Volume
from ..sealing import unseal
from ..states import Role

GIB = 2**30
# Emulated, every newer feature costs time: QEMU's "max" boots a guest with 15 to 25 % more CPU time than this model,
# which is x86-64-v2 and so runs current distributions.
EMULATED_CPU = "Nehalem"


def images_dir() -> PurePosixPath:
    return PurePosixPath(settings.DATA_DIR) / "images"


def image_path(image: Image) -> PurePosixPath:
    return images_dir() / image.file_name


def domain_name(vm: VirtualMachine) -> str:
    return f"sw-{settings.INSTALLATION_ID}-{vm.domain_uuid}"


def serial_socket(vm: VirtualMachine) -> PurePosixPath:
    return PurePosixPath(settings.DATA_DIR) / "sock" / f"{vm.domain_uuid}.serial"


def volume_spec(volume: Volume) -> VolumeSpec:
    """The machine's disk: an overlay on the image's read-only file, as large as the flavor says."""
    below = base_paths(volume)
    base = below[0] if below else None
    return VolumeSpec(pool=volume.pool.name, name=volume.file_name, size_bytes=volume.size_gib * GIB, base_path=base)


def base_paths(volume: Volume) -> tuple[PurePosixPath, ...]:
    """What the disk lies on, the next one first: a frozen template's disk and then its image, or the image alone."""
    image = (image_path(volume.base_image),) if volume.base_image else ()
    frozen = (PurePosixPath(settings.DATA_DIR) / volume.base_path,) if volume.base_path else ()
    return frozen + image


def volume_path(volume: Volume) -> PurePosixPath:
    return PurePosixPath(volume.pool.path) / volume.file_name


def disk_spec(volume: Volume) -> DiskSpec:
    """The volume as a disk, with all that it lies on: nothing asks the file itself for that."""
    below = base_paths(volume)
    return DiskSpec(
        volume_path(volume), volume.disk_index, base_path=below[0] if below else None, below=tuple(below[1:])
    )


def nic_spec(nic: Nic) -> NicSpec:
    """The card on its network; one that is unplugged is on none."""
    if not nic.linked:
        return NicSpec("", nic.mac, "", "", linked=False)
    if not nic.network.filter_name:  # the network's guard knows the card
        return NicSpec(nic.network.name, nic.mac, "", "")
    return NicSpec(nic.network.name, nic.mac, nic.address, nic.network.filter_name)


def channel_socket(vm: VirtualMachine, channel: str) -> PurePosixPath | None:
    """The host's end of a channel to the guest's own listener ("identity", "run"); ordinary machines have none."""
    if vm.role == Role.MACHINE:
        return None
    return PurePosixPath(settings.DATA_DIR) / "sock" / f"{vm.domain_uuid}.{channel}"


def seed_spec(vm: VirtualMachine) -> SeedSpec:
    """What the guest reads at its first boot; empty of secrets once the sealed column was cleared."""
    asked = unseal(vm.sealed_seed) if vm.sealed_seed else {}
    return SeedSpec(
        instance_id=vm.domain_uuid,
        hostname=vm.name,
        ssh_keys=tuple(asked.get("ssh_keys", ())),
        password_hash=asked.get("password_hash", ""),
        user_data=asked.get("user_data", "").encode(),
    )


def memory_spec(vm: VirtualMachine) -> MemorySpec | None:
    """A builder's memory is a file, in the folder that it will be frozen into; it is named by the builder's id."""
    if vm.role != Role.BUILDER:
        return None
    return MemorySpec(PurePosixPath(settings.DATA_DIR) / "templates" / str(vm.pk) / "ram")


def domain_spec(vm: VirtualMachine, volumes: list[Volume]) -> DomainSpec:
    """The whole machine. Its serial socket is the gateway's; its VNC display has no address at all."""
    pool_path = PurePosixPath(volumes[0].pool.path)
    return DomainSpec(
        uuid=vm.domain_uuid,
        name=domain_name(vm),
        owner=OwnerTag(settings.INSTALLATION_ID, vm.pk),
        vcpus=vm.vcpus,
        memory_mib=vm.memory_mib,
        disks=tuple(disk_spec(volume) for volume in volumes),
        nics=tuple(nic_spec(nic) for nic in vm.nics.select_related("network").order_by("id")),
        serial_socket=serial_socket(vm),
        seed_path=pool_path / vm.seed_name,
        virt_type=vm.node.virt_type,
        cpu="host-passthrough" if vm.node.virt_type == "kvm" else EMULATED_CPU,
        arch=vm.node.arch,
        identity_socket=channel_socket(vm, "identity"),
        run_socket=channel_socket(vm, "run"),
        memory=memory_spec(vm),
    )
