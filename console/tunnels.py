"""Bytes to a machine's own SSH server, over the node's bridge. No Django in here."""

import asyncio
import socket

import structlog

from .relay import Stream

log = structlog.get_logger(__name__)
SSH_PORT = 22
CONNECT_SECONDS = 5.0


async def open_tunnel(address: str, bridge: str) -> Stream | None:
    """Connect to a machine's address; None where nothing answers.

    The socket is bound to the bridge, so that an address which is not there (a network without the host on it, a card
    that is not plugged in) is never looked for along the host's other routes.
    """
    end = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, bridge.encode())
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_SECONDS):
            await loop.sock_connect(end, (address, SSH_PORT))
            _transport, stream = await loop.create_connection(Stream, sock=end)
    except OSError as error:  # a timeout is one
        log.info("tunnel.no_answer", bridge=bridge, error=repr(error))
        end.close()
        return None
    except BaseException:
        end.close()
        raise
    return stream
