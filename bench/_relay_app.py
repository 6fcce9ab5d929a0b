"""The gateway's relay alone, on a UNIX socket named in the environment: what bench/console.py measures."""

import asyncio
import os

from console.relay import Ended, Message, Receive, Send, Stream, relay
from console.websocket import DIRECT


async def application(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] != "websocket":
        return
    await receive()
    loop = asyncio.get_running_loop()
    folder = os.environ["BENCH_SOCKETS"]
    _transport, stream = await loop.create_unix_connection(Stream, f"{folder}/{scope['path'].strip('/')}")
    await send({"type": "websocket.accept"})
    client = scope["extensions"].get(DIRECT)
    if await relay(receive, send, stream, loop.create_future(), client) is not Ended.CLIENT:
        await send({"type": "websocket.close", "code": 1000})
    stream.close()
