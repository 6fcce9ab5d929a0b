"""Reading pages in tests: their words, their forms' values, and what was said on the way."""

import re
from html import unescape
from typing import Any

from django.contrib.messages import get_messages

SCRIPT = {"X-Slipway-Script": "1"}


def words(response: Any) -> str:
    """Return the words of the page's main part, one blank between them."""
    body = response.content.decode()
    main = body.partition("<main")[2].partition("</main>")[0] or body
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", main)).replace("\u00a0", " ").split())


def said(response: Any) -> list[str]:
    """Return the sentences that wait for the next page."""
    return [str(message) for message in get_messages(response.wsgi_request)]


def field(response: Any, name: str) -> str:
    """Return the value that a form's input of this name shows; "" where it shows none."""
    tag = re.search(rf'<input[^>]*\bname="{name}"[^>]*>', response.content.decode())
    assert tag, f"no input {name}"
    value = re.search(r'\bvalue="([^"]*)"', tag.group())
    return unescape(value.group(1)) if value else ""


def copied(response: Any, element_id: str) -> str:
    """Return the text that a command or secret of the page offers to copy."""
    found = re.search(rf'id="{element_id}"[^>]*><code>(.*?)</code>', response.content.decode(), re.DOTALL)
    assert found, f"nothing to copy in {element_id}"
    return unescape(re.sub(r"<[^>]+>", "", found.group(1)))
