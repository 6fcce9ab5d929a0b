"""What a node keeps of templates: builds that nothing lies on any more go, and one whose files went says so."""

from datetime import timedelta
from pathlib import PurePosixPath

import structlog
from django.conf import settings

from accounts import clock
from hypervisor.api import Hypervisor
from sandboxes.models import Sandbox, TemplateBuild
from sandboxes.states import BuildStatus
from vms.models import Node, VirtualMachine, Volume

log = structlog.get_logger(__name__)
FAILURES_KEPT = timedelta(days=7)  # with their reason and screen, for people to look at
FILES_MAY_BE_LEFT = timedelta(days=1)  # of a failure: a worker that woke up late may write some


def folder_of(build: TemplateBuild) -> PurePosixPath:
    return PurePosixPath(settings.DATA_DIR) / build.folder


def tend(node: Node, hypervisor: Hypervisor) -> list[str]:
    """Bring rows and folders of this node's builds together; return what was removed."""
    _note_fingerprint(node, hypervisor)
    removed = []
    for build in TemplateBuild.objects.filter(node=node).exclude(status=BuildStatus.BUILDING).defer("screenshot"):
        if build.status == BuildStatus.READY:
            _check_files(build, hypervisor)
        elif not _is_needed(build):
            removed += _remove(build, hypervisor)
    return removed


def _note_fingerprint(node: Node, hypervisor: Hypervisor) -> None:
    """QEMU may have been upgraded since this node registered: builds of before then fit no more."""
    found = hypervisor.fingerprint()
    Node.objects.filter(pk=node.pk).exclude(fingerprint=found).update(fingerprint=found)


def _check_files(build: TemplateBuild, hypervisor: Hypervisor) -> None:
    if hypervisor.frozen(folder_of(build)) is not None:
        return
    log.warning("build_without_files", build=str(build.pk))
    TemplateBuild.objects.filter(pk=build.pk, status=BuildStatus.READY).update(
        status=BuildStatus.FAILED, reason="files_missing", reason_detail="Its files are missing on the node."
    )


def _is_needed(build: TemplateBuild) -> bool:
    """Does a disk lie on it, or is its builder still there?"""
    return (
        Volume.objects.filter(base_path=build.disk_path).exists()
        or Sandbox.objects.filter(build=build).exists()
        or VirtualMachine.objects.filter(pk=build.pk).exists()
    )


def _remove(build: TemplateBuild, hypervisor: Hypervisor) -> list[str]:
    now = clock.now()
    failed = build.status == BuildStatus.FAILED
    if failed and build.created_at < now - FILES_MAY_BE_LEFT and build.created_at > now - FAILURES_KEPT:
        return []
    hypervisor.remove_frozen(folder_of(build))
    if failed and build.created_at > now - FAILURES_KEPT:
        return []
    folder = build.folder
    build.delete()
    log.info("build_removed", folder=folder)
    return [f"build {folder}"]
