"""What can go wrong, as a sentence, what to do about it, and an exit code."""

from enum import IntEnum


class Code(IntEnum):
    """Exit codes; docs/cli.md promises them. 2 is also what a wrong command line ends with."""

    REFUSED = 1  # the portal refused, or an operation failed
    USAGE = 2
    NOT_SIGNED_IN = 3
    NOT_FOUND = 4
    UNREACHABLE = 5
    QUOTA = 6
    TIME_LIMIT = 124  # of `slipway run`, as timeout(1) has it
    NOT_RUN = 125  # `slipway run` did not get as far as the command's exit code
    INTERRUPTED = 130
    NO_TUNNEL = 255  # what ssh ends with when there is no connection


class Fault(Exception):
    """Ends the command: `sentence` says what is wrong, `hint` what to do next, `slug` is the API's word for it."""

    def __init__(self, sentence: str, hint: str = "", code: int = Code.REFUSED, slug: str = "") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.hint = hint
        self.code = int(code)
        self.slug = slug


def not_found(noun: str, ref: str, hint: str) -> Fault:
    return Fault(f"There is no {noun} named {ref} that you may see.", hint, Code.NOT_FOUND, "not_found")
