"""The isolation report of a sandbox: what it could not do, tried from inside."""

from django.http import HttpRequest
from ninja import Status

from vms.api.door import actor, caller, router
from vms.api.shapes import Named

from .. import services
from ..models import Sandbox
from ..presenting.isolation import Report, last_report
from ..queries import get_sandbox_for
from ..states import NetworkMode
from . import asked, shapes

routes = router("sandboxes")


@routes.post("sandboxes/{vm_id}/isolation", response={202: shapes.Isolation})
def check_isolation(request: HttpRequest, vm_id: str, body: asked.Nothing | None = None) -> Status[shapes.Isolation]:
    """Let a program in the sandbox try to reach host, neighbours and others; look at the report until it has ended."""
    run = services.request_isolation_check(actor(request), vm_id)
    return Status(202, _shown(get_sandbox_for(caller(request), vm_id), Report(run)))


@routes.get("sandboxes/{vm_id}/isolation", response=shapes.Isolation)
def get_isolation(request: HttpRequest, vm_id: str) -> shapes.Isolation:
    """Return what the last check found; `verdict` is `unchecked` where there was none."""
    sandbox = get_sandbox_for(caller(request), vm_id)
    return _shown(sandbox, last_report(sandbox))


def _shown(sandbox: Sandbox, report: Report) -> shapes.Isolation:
    run = report.run
    probes = [
        shapes.Probe(
            name=probe.finding.name,
            result=probe.finding.result,
            label=str(probe.label),
            said=probe.result,
        )
        for probe in report.probes
    ]
    return shapes.Isolation(
        sandbox=Named(id=sandbox.vm_id, name=sandbox.vm.name),
        network=NetworkMode(sandbox.network),
        verdict=report.verdict,
        run=run.pk if run else None,
        begun_at=run.created_at if run else None,
        finished_at=run.finished_at if run else None,
        held=report.held,
        probes=probes,
        problem=report.problem,
    )
