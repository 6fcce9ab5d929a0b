"""The API says what it is: the OpenAPI document, its page, and docs/api.md."""

import re
from pathlib import Path

import pytest

from portal.api import api
from portal.api_docs import calls_by_noun

GUIDE = Path(__file__).parents[2] / "docs" / "api.md"


@pytest.fixture(scope="module")
def document():
    return api.get_openapi_schema()


def calls(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_the_page_shows_every_call_without_a_script(db, client, document):
    response = client.get("/api/v1/docs")
    assert response.status_code == 200
    html = response.content.decode()
    for method, path, operation in calls(document):
        assert f'id="{operation["operationId"]}"' in html, (method, path)
        assert path in html
    inside = html.partition("<body")[2]
    assert "<script" not in inside
    assert not re.search(r"\sstyle=|\son\w+=", inside)


def test_every_call_says_what_it_does_and_how_it_refuses(document):
    for method, path, operation in calls(document):
        assert operation.get("description", "").endswith("."), (method, path)
        assert operation["responses"]["4XX"]["content"]["application/problem+json"], (method, path)
        assert operation["security"], (method, path)


def test_every_post_takes_a_key_unless_it_answers_with_a_secret(document):
    without = {
        operation["operationId"]
        for method, _path, operation in calls(document)
        if method == "POST" and not any(p["name"] == "Idempotency-Key" for p in operation["parameters"])
    }
    assert without == {"open_console", "create_token"}


def test_all_references_of_the_document_lead_somewhere(document):
    wanted = set(re.findall(r"#/components/schemas/([\w.-]+)", str(document)))
    assert wanted <= set(document["components"]["schemas"])


def test_the_page_says_types_in_words():
    [create] = [call for call in calls_by_noun()["vms"] if call.id == "create_vm"]
    kinds = {field.name: field.kind for field in create.body}
    assert kinds["ssh_keys"] == "list of text"
    assert kinds["start"] == "true or false"
    assert kinds["project"] == "text or null"


def test_the_guide_names_every_call(document):
    text = GUIDE.read_text()
    for method, path, _operation in calls(document):
        short = path.removeprefix("/api/v1/")
        assert re.search(rf"`{method} {re.escape(short)}[`? ]", text), f"{method} {short} is not in docs/api.md"
