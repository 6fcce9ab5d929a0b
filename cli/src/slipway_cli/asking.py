"""Questions to the person at the terminal."""

import getpass
import sys

from .faults import Code, Fault
from .showing import say


def secret(prompt: str, *, twice: bool = False) -> str:
    """Return what is typed unseen, or the first line of a stdin that is no terminal; Fault for nothing."""
    if not sys.stdin.isatty():
        answer = sys.stdin.readline().strip()
    else:
        answer = getpass.getpass(f"{prompt}: ").strip()
        if twice and getpass.getpass("Once more: ").strip() != answer:
            raise Fault("The two are not the same.", "Try again.", Code.USAGE)
    if not answer:
        raise Fault(f"{prompt}: nothing was given.", "Type it, or hand it over on stdin.", Code.USAGE)
    return answer


def confirm(question: str, yes: bool) -> None:
    """Go on only after a yes; Fault otherwise."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Fault("This cannot be undone, and there is nobody to ask.", "Add --yes if you mean it.", Code.USAGE)
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        say("Nothing was done.")
        raise SystemExit(Code.REFUSED)
