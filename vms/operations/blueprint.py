"""From rows to specs: all hardware policy stands here, and no XML does."""

from pathlib import PurePosixPath

from django.conf import settings

from hypervisor.specs import DiskSpec, DomainSpec, NicSpec, OwnerTag, SeedSpec, VolumeSpec

from ..models import Image, VirtualMachine, Volume
from ..sealing import unseal

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


def seed_name(vm: VirtualMachine) -> str:
    return f"{vm.domain_uuid}.iso"


def serial_socket(vm: VirtualMachine) -> PurePosixPath:
    return PurePosixPath(settings.DATA_DIR) / "sock" / f"{vm.domain_uuid}.serial"


def volume_spec(volume: Volume) -> VolumeSpec:
    """The machine's disk: an overlay on the image's read-only file, as large as the flavor says."""
    base = image_path(volume.base_image) if volume.base_image else None
    return VolumeSpec(pool=volume.pool.name, name=volume.file_name, size_bytes=volume.size_gib * GIB, base_path=base)


def volume_path(volume: Volume) -> PurePosixPath:
    return PurePosixPath(volume.pool.path) / volume.file_name


def disk_spec(volume: Volume) -> DiskSpec:
    """The volume as a disk, with the image that it lies on: nothing asks the file itself for that."""
    return DiskSpec(volume_path(volume), volume.disk_index, base_path=volume_spec(volume).base_path)


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
        nics=tuple(
            NicSpec(nic.network.name, nic.mac, nic.address, nic.network.filter_name)
            for nic in vm.nics.select_related("network").order_by("id")
        ),
        serial_socket=serial_socket(vm),
        seed_path=pool_path / seed_name(vm),
        virt_type=vm.node.virt_type,
        cpu="host-passthrough" if vm.node.virt_type == "kvm" else EMULATED_CPU,
        arch=vm.node.arch,
    )
