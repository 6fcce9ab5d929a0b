"""Listening on a network card of this host, or of a namespace: every frame that comes in, as it is."""

import secrets
import socket
import time
from typing import Self

ETH_P_ALL = 0x0003
OUTGOING = 4  # PACKET_OUTGOING: what the card itself sent
EXPERIMENTAL = bytes.fromhex("88b5")  # an ethertype that nobody answers


class Ears:
    """Hears from its making on; `heard` waits a moment for what is still under way.

    At the host's end of a guest's card (`vnet0`), what is going *to* the guest is outgoing.
    """

    def __init__(self, card: str, *, towards_the_guest: bool = False) -> None:
        self._outgoing = towards_the_guest
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.bind((card, ETH_P_ALL))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._socket.close()

    def heard(self, seconds: float = 1.5) -> list[bytes]:
        """Return every frame since the last call, waiting for more until `seconds` have passed."""
        frames, until = [], time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                frame, (_card, _kind, direction, *_rest) = self._socket.recvfrom(2048)
            except TimeoutError:
                break
            if (direction == OUTGOING) == self._outgoing:
                frames.append(frame)
        return frames


def call_out(card: str) -> bytes:
    """Broadcast a frame that nobody else sends on a card, such as a bridge; return it, for ears that must hear it."""
    frame = b"\xff" * 6 + bytes.fromhex("02000000") + secrets.token_bytes(2) + EXPERIMENTAL + secrets.token_bytes(46)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((card, 0))
        wire.send(frame)
    return frame
