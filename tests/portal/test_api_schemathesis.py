"""Generated requests against the OpenAPI document: no server errors, and only answers that the document has."""

from copy import deepcopy

import hypothesis
import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from portal.api import api
from tests.portal.lab import make_lab, stub_gateway

EXAMPLES = 8
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
STREAMS = {  # answered with bytes of something else
    "/api/v1/events",
    "/api/v1/vms/{vm_id}/screenshot",
    "/api/v1/runs/{run_id}/output",
    "/api/v1/runs/{run_id}/events",
    "/api/v1/sandboxes/{vm_id}/files",
}


@pytest.fixture
def _one_connection():
    """Keep the test's database connection, which Django drops at the borders of a request."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def document_without_security():
    """Return the document without who may call: a real token is sent, and not taken for a generated mistake."""
    document = deepcopy(api.get_openapi_schema())
    for methods in document["paths"].values():
        for operation in methods.values():
            del operation["security"]
    return document


def calls() -> list[tuple[str, str, GenerationMode]]:
    """Return (method, path, mode) of every call that answers with JSON; wrong ones where that is possible."""
    found = []
    for path, methods in api.get_openapi_schema()["paths"].items():
        for method, operation in methods.items():
            takes = "requestBody" in operation or any(p["in"] != "path" for p in operation["parameters"])
            modes = [GenerationMode.POSITIVE, *([GenerationMode.NEGATIVE] if takes else [])]
            found += [(method.upper(), path, mode) for mode in modes if path not in STREAMS]
    return found


@pytest.fixture
def ids(world, path, monkeypatch):
    """What stands in addresses: things that exist, so that requests get beyond the door."""
    stub_gateway(monkeypatch)
    lab = make_lab(world)
    box = lab.sandbox() if "/sandboxes/" in path or "/runs/" in path else None
    vm = box.vm if box else world.vm()
    return {
        "template_id": "micro",
        "run_id": str(lab.run(box, by="alice").pk) if box else "",
        "vm_id": str(vm.pk),
        "operation_id": str(vm.operations.get().pk),
        "project_id": "harbor",
        "node_id": str(world.node.pk),
        "member": "dana",
    }


@pytest.mark.usefixtures("_one_connection")
@pytest.mark.parametrize(("method", "path", "mode"), calls(), ids=str)
def test_generated_requests_get_documented_answers(world, ids, settings, method, path, mode):
    settings.RATES = dict.fromkeys(settings.RATES, ((10**6, 60),))
    schema = schemathesis.openapi.from_dict(document_without_security())
    schema.app = get_wsgi_application()
    headers = {"Authorization": f"Bearer {world.token('admin')}"}
    answered = []

    @hypothesis.settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(case=schema[path][method].as_strategy(generation_mode=mode))
    def ask(case):
        for name in case.path_parameters or {}:
            case.path_parameters[name] = ids.get(name, case.path_parameters[name])
        response = case.call(headers=headers)
        answered.append(response.status_code)
        case.validate_response(response, checks=CHECKS)

    ask()
    assert answered
