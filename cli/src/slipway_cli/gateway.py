"""Consoles and tunnels: a ticket from the portal, a websocket to the gateway that it names (docs/api.md, Consoles)."""

from contextlib import ExitStack

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from .client import Api, Json
from .faults import Code, Fault

OPEN_SECONDS = 15
CLOSE_SECONDS = 2
NOT_RUNNING = 4409
# close codes after which a new ticket is worth a try: the network broke, the gateway restarts, the ticket was too old
PASSING = {1001, 1006, 1011, 1012, 1013, 1014, 4401}
ENDINGS = {
    4401: ("The gateway did not take our ticket.", "Try again."),
    4403: ("Your access to {name} was taken away.", ""),
    4404: ("{name} is gone.", ""),
    4409: ("{name} is not running.", "Start it: slipway vm start {name}"),
    4504: ("Nothing answers on port 22 of {name}.", "Is its ssh server up? Look: slipway vm console {name}"),
    4429: ("Too many consoles are open.", "Close one, then try again."),
}


def open_stream(api: Api, vm: Json, kind: str) -> ClientConnection:
    """Return a websocket to a console of this kind, or to port 22 ("ssh"); Fault."""
    ticket = api.post(f"vms/{vm['id']}/console", {"kind": kind}, keyed=False)
    protocols = [Subprotocol(word) for word in ticket["protocols"]]
    try:
        opening = connect(  # and no Origin: that is for browsers
            ticket["url"],
            subprotocols=protocols,
            compression=None,
            max_size=None,
            open_timeout=OPEN_SECONDS,
            close_timeout=CLOSE_SECONDS,
        )
        return ExitStack().enter_context(opening)  # websockets wants to be entered; callers close it themselves
    except (OSError, InvalidHandshake, InvalidURI, EOFError) as error:
        raise Fault(
            f"The gateway at {ticket['url'].split('/console/')[0]} cannot be used: {error or type(error).__name__}.",
            "It is the process on the machine's node that carries consoles. Try again, or tell your staff.",
            Code.UNREACHABLE,
        ) from None


def close_code(closed: ConnectionClosed) -> int:
    """Return why a connection ended; 1006 where nobody said."""
    return closed.rcvd.code if closed.rcvd else 1006


def ending(code: int, name: str) -> Fault:
    """Say why a connection ended, as an error."""
    if code not in ENDINGS:
        return Fault(f"The connection to {name} broke ({code}).", "Try again.", Code.UNREACHABLE)
    sentence, hint = ENDINGS[code]
    return Fault(sentence.format(name=name), hint.format(name=name), Code.NOT_FOUND if code == 4404 else Code.REFUSED)
