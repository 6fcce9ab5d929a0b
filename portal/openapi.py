"""What the OpenAPI document says of every call alike: how errors look, and the Idempotency-Key."""

from typing import Any

from vms.api.door import KEY_HEADER

KEYLESS = frozenset({"open_console", "create_token"})  # their answers hold a secret
PROBLEM: dict[str, Any] = {
    "title": "Problem",
    "description": "RFC 9457 problem details.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "A sentence for people."},
        "code": {"type": "string", "description": "A word for programs, such as quota_exceeded."},
        "fields": {
            "type": "object",
            "description": "422: what is wrong, by field.",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
        "quota": {
            "type": "array",
            "description": "409 quota_exceeded: every dimension that does not suffice.",
            "items": {"$ref": "#/components/schemas/Shortage"},
        },
        "operation": {"type": "string", "description": "409 operation_in_progress: the one under way."},
    },
}
SHORTAGE: dict[str, Any] = {
    "title": "Shortage",
    "type": "object",
    "required": ["scope", "dimension", "limit", "used", "requested", "short", "frees"],
    "properties": {
        "scope": {"enum": ["project", "member"]},
        "dimension": {"type": "string"},
        "limit": {"type": "integer"},
        "used": {"type": "integer"},
        "requested": {"type": "integer"},
        "short": {"type": "integer"},
        "frees": {
            "type": "array",
            "description": "Machines whose stop or deletion would free some.",
            "items": {
                "type": "object",
                "properties": {
                    "vm": {"type": "string", "format": "uuid"},
                    "name": {"type": "string"},
                    "amount": {"type": "integer"},
                },
            },
        },
    },
}
REFUSED = {
    "description": "Refused; `code` says why.",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
KEY = {
    "in": "header",
    "name": KEY_HEADER,
    "required": False,
    "description": "The same key and body get the same answer for 24 hours.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"},
}


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """Return the generated document with what django-ninja does not know."""
    document["components"]["schemas"] |= {"Problem": PROBLEM, "Shortage": SHORTAGE}
    for methods in document["paths"].values():
        for method, operation in methods.items():
            operation["responses"] |= {"4XX": REFUSED, "503": REFUSED}
            if method == "post" and operation["operationId"] not in KEYLESS:
                operation["parameters"] = [*operation["parameters"], KEY]
    return document
