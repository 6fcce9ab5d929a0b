"""The API's page for people: the OpenAPI document as plain HTML, made on the server, without any script."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from .api import api

Schema = dict[str, Any]
_REF = "#/components/schemas/"
_PLAIN = {"uuid": "id", "date-time": "time", "string": "text", "integer": "number", "boolean": "true or false"}


@dataclass(frozen=True, slots=True)
class Field:
    """One parameter, or one field of a body or an answer. `leads_to` is the object that it holds, if any."""

    name: str
    kind: str
    needed: bool = False
    about: str = ""
    leads_to: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """One way in which a call is answered."""

    status: str
    about: str
    fields: list[Field]


@dataclass(frozen=True, slots=True)
class Call:
    """One method at one address."""

    id: str
    method: str
    path: str
    about: str
    parameters: list[Field]
    body: list[Field]
    replies: list[Reply]


@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    """Show every call by noun, then the objects that they answer with."""
    return render(request, "api/docs.html", {"groups": calls_by_noun(), "objects": objects()})


@lru_cache(maxsize=1)
def calls_by_noun() -> dict[str, list[Call]]:
    """Return {noun: calls} in the order of the routers."""
    document = api.get_openapi_schema()
    schemas: dict[str, Schema] = document["components"]["schemas"]
    groups: dict[str, list[Call]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            groups.setdefault(operation["tags"][0], []).append(_call(method, path, operation, schemas))
    return groups


@lru_cache(maxsize=1)
def objects() -> dict[str, list[Field]]:
    """Return {name: fields} of the objects that fields lead to, and of those that these lead to."""
    schemas: dict[str, Schema] = api.get_openapi_schema()["components"]["schemas"]
    fields = {name: list(_fields(schema, schemas)) for name, schema in schemas.items()}
    replies = [reply.fields for calls in calls_by_noun().values() for call in calls for reply in call.replies]
    wanted = {field.leads_to for reply in replies for field in reply} | {"Problem"}
    while more := {field.leads_to for name in wanted for field in fields.get(name, [])} - wanted:
        wanted |= more
    return {name: fields[name] for name in sorted(wanted) if fields.get(name)}


def _call(method: str, path: str, operation: Schema, schemas: dict[str, Schema]) -> Call:
    parameters = [
        Field(p["name"], kind_of(p["schema"]), p["required"], p.get("description", "")) for p in operation["parameters"]
    ]
    return Call(
        id=operation["operationId"],
        method=method.upper(),
        path=path,
        about=operation.get("description", ""),
        parameters=parameters,
        body=list(_fields(_content(operation.get("requestBody", {})), schemas)),
        replies=[
            Reply(str(status), reply["description"], list(_fields(_content(reply), schemas)))
            for status, reply in operation["responses"].items()
            if str(status).startswith("2")
        ],
    )


def _content(part: Schema) -> Schema:
    """Return the schema of a body or an answer; {} where it has none."""
    contents: list[Schema] = list(part.get("content", {}).values())
    found: Schema = contents[0].get("schema", {}) if contents else {}
    return found


def _fields(schema: Schema, schemas: dict[str, Schema]) -> Iterator[Field]:
    for name, found in _resolved(schema, schemas).get("properties", {}).items():
        needed = name in _resolved(schema, schemas).get("required", [])
        yield Field(name, kind_of(found), needed, found.get("description", ""), _leads_to(found))


def _leads_to(schema: Schema) -> str:
    """Return the name of the object in a field: itself, in a list, or unless null."""
    options = [*schema.get("anyOf", []), *schema.get("allOf", []), schema.get("items", {})]
    found = [schema.get("$ref", ""), *(option.get("$ref", "") for option in options)]
    return next((ref.removeprefix(_REF) for ref in found if ref), "")


def _resolved(schema: Schema, schemas: dict[str, Schema]) -> Schema:
    """Follow a reference; of `X or null` take X."""
    options = [option for option in schema.get("anyOf", []) if option.get("type") != "null"]
    if len(options) == 1:
        return _resolved(options[0], schemas)
    return schemas[schema["$ref"].removeprefix(_REF)] if "$ref" in schema else schema


def kind_of(schema: Schema) -> str:
    """Say a type in a few words: `list of text`, `VmOut or null`."""
    options = schema.get("anyOf") or schema.get("allOf")
    if options:
        return " or ".join(kind_of(option) for option in options)
    if "enum" in schema:
        return " or ".join(str(value) for value in schema["enum"])
    name = schema.get("$ref", "").removeprefix(_REF) or schema.get("type", "anything")
    if name == "array":
        return f"list of {kind_of(schema.get('items', {}))}"
    if name == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {kind_of(schema['additionalProperties'])}"
    return str(_PLAIN.get(schema.get("format", name), name))
