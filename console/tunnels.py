"""Bytes to a machine's own SSH server, over the node's bridge. No Django in here."""

import asyncio
import socket

import structlog

from .relay import Stream

log = structlog.get_logger(__name__)
SSH_PORT = 22
CONNECT_SECONDS = 5.0
REFUSED_PAUSE_SECONDS = 0.1


async def open_tunnel(address: str, bridge: str) -> Stream | None:
    """Connect to a machine's address; None where nothing answers within 5 s.

    A server that refuses may be about to start: after a boot, or in a clone that has just been given its host keys.
    """
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            end = await _connect(address, bridge)
    except OSError as error:  # a timeout is one
        log.info("tunnel.no_answer", bridge=bridge, error=repr(error))
        return None
    _transport, stream = await asyncio.get_running_loop().create_connection(Stream, sock=end)
    return stream


async def _connect(address: str, bridge: str) -> socket.socket:
    """Ask until it is not refused.

    The socket is bound to the bridge, so that an address which is not there (a network without the host on it, a card
    that is not plugged in) is never looked for along the host's other routes.
    """
    loop = asyncio.get_running_loop()
    while True:
        end = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, bridge.encode())
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(end, (address, SSH_PORT))
        except ConnectionRefusedError:
            end.close()
        except BaseException:
            end.close()
            raise
        else:
            return end
        await asyncio.sleep(REFUSED_PAUSE_SECONDS)
