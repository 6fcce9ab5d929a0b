"""The portal's refusals (RFC 9457, docs/api.md) as sentences with what to do next."""

from typing import Any

import httpx

from .faults import Code, Fault

CODES = {401: Code.NOT_SIGNED_IN, 404: Code.NOT_FOUND, 502: Code.UNREACHABLE, 504: Code.UNREACHABLE}


def unreachable(url: str, error: httpx.TransportError) -> Fault:
    """Say why there was no answer."""
    if isinstance(error, httpx.TimeoutException):
        return Fault(f"{url} does not answer in time.", "Try again in a moment.", Code.UNREACHABLE, "unreachable")
    why = str(error) or type(error).__name__
    return Fault(
        f"{url} cannot be reached: {why}.",
        "Is the address right, and the portal up? The address is set by slipway login --url or SLIPWAY_URL.",
        Code.UNREACHABLE,
        "unreachable",
    )


def fault_of(answer: httpx.Response, url: str) -> Fault:
    """Return what a refusal says."""
    if answer.is_redirect:
        where = answer.headers.get("location", "elsewhere")
        return Fault(f"{url} sends us to {where}.", "Sign in at that address: slipway login --url.", Code.UNREACHABLE)
    problem = _problem(answer)
    slug = str(problem.get("code", ""))
    sentence = str(problem.get("detail") or problem.get("title") or f"The portal answered HTTP {answer.status_code}.")
    code = Code.QUOTA if slug == "quota_exceeded" else CODES.get(answer.status_code, Code.REFUSED)
    return Fault(sentence, _hint(slug, problem, answer), code, slug)


def _problem(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _hint(slug: str, problem: dict[str, Any], answer: httpx.Response) -> str:
    fixed = {
        "not_authenticated": "The token is wrong, has expired or was revoked. Sign in again: slipway login.",
        "read_only_token": "Make a token that may change things, and sign in with it: slipway login.",
        "operation_in_progress": f"Look at it: slipway op show {problem.get('operation', 'ID')}",
        "too_many_requests": f"Try again in {answer.headers.get('retry-after', 'some')} seconds.",
    }
    if slug == "invalid":
        fields = problem.get("fields", {})
        return "\n".join(f"{name}: {' '.join(map(str, said))}" for name, said in fields.items())
    if slug == "quota_exceeded":
        return "\n".join(_short_of(entry) for entry in problem.get("quota", []))
    return fixed.get(slug, "Try again in a moment." if answer.status_code >= 500 else "")


def _short_of(entry: dict[str, Any]) -> str:
    """Say one dimension of a quota that is too small."""
    dimension = entry["dimension"]
    line = (
        f"{dimension} of the {entry['scope']}: {entry['used']} of {entry['limit']} used, "
        f"{entry['requested']} asked for, {entry['short']} too many."
    )
    frees = [f"{free['name']} ({free['amount']})" for free in entry.get("frees", [])[:3]]
    return f"{line} These would free some: {', '.join(frees)}." if frees else line
