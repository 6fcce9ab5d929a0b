"""How commands end that have begun an operation: with what is done, or with where to look."""

from collections.abc import Callable

from .client import Api, Json
from .following import follow
from .showing import plain, say, show_json


def show_end(answer: Json, wait: bool, json: bool, done: Callable[[], str], not_waiting: str = "Not waiting.") -> None:
    """Show an answer with its operation as JSON, or say what is done, or where to look where nobody waits."""
    if json:
        show_json(answer)
    elif wait:
        print(plain(done()))
    else:
        say(f"{plain(not_waiting)} Look at it: slipway op show {answer['operation']['id']}")


def delete(api: Api, path: str, name: str, *, wait: bool, json: bool) -> None:
    """Delete what is at this path, and show that it is gone."""
    answer = api.delete(path)
    if wait:
        answer = {"operation": follow(api, answer["operation"])}
    show_end(answer, wait, json, lambda: f"{name} is gone.")
