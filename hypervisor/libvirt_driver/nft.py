"""The packet filter of this host, through libnftables: what the program `nft` is a shell around, without starting it.

A start of `nft` takes 6 ms and a call 0.4. Without memory the library ends the process, as libvirt's own does.
Source: nftables/libnftables.h (1.0.6), libnftables(3).
"""

import ctypes
import socket
import threading
from functools import cache
from typing import Any

from hypervisor.errors import HypervisorError

_LIBRARY = "libnftables.so.1"
_NETFILTER = 12  # NETLINK_NETFILTER of linux/netlink.h
_NETLINK = 0  # NFT_CTX_DEFAULT
_JSON = 1 << 4  # NFT_CTX_OUTPUT_JSON
_TOLD = 400  # characters of an error
_alone = threading.Lock()  # the library knows the host's interfaces in one list for all of its contexts


class NftRefused(HypervisorError):
    """The packet filter refused the commands, and has done none of them."""


def run(commands: str, *, dry: bool = False) -> None:
    """Carry out commands in nft(8)'s language, all or none; `dry`: only judge them. NftRefused, HypervisorError."""
    _run(commands, dry=dry)


def listed(what: str) -> str:
    """Return in JSON what `nft list WHAT` says; NftRefused when there is no such thing."""
    return _run(f"list {what}", json=True)


def _run(commands: str, *, dry: bool = False, json: bool = False) -> str:
    library = _library()
    _require_netlink()
    with _alone:
        context = library.nft_ctx_new(_NETLINK)
        if not context:
            raise HypervisorError("nft: no context")
        try:
            for buffered in (library.nft_ctx_buffer_output, library.nft_ctx_buffer_error):
                if buffered(context):
                    raise HypervisorError("nft: no buffer")
            library.nft_ctx_set_dry_run(context, dry)
            if json:
                library.nft_ctx_output_set_flags(context, _JSON)
            if library.nft_run_cmd_from_buffer(context, commands.encode()):
                said = library.nft_ctx_get_error_buffer(context).decode(errors="replace")
                raise NftRefused(f"nft: {said.strip()[:_TOLD]}")
            return str(library.nft_ctx_get_output_buffer(context).decode())
        finally:
            library.nft_ctx_free(context)


def _require_netlink() -> None:
    """HypervisorError where the kernel has no socket for us: the library would end this process for that."""
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER).close()
    except OSError as error:
        raise HypervisorError(f"nft: {error}") from error


@cache
def _library() -> Any:
    """Load the library and tell what its functions take: without that, pointers would be cut to 32 bits."""
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise HypervisorError(f"nft: {error}") from error
    context, text = ctypes.c_void_p, ctypes.c_char_p
    takes: dict[str, tuple[Any, list[Any]]] = {
        "nft_ctx_new": (context, [ctypes.c_uint32]),
        "nft_ctx_free": (None, [context]),
        "nft_ctx_buffer_output": (ctypes.c_int, [context]),
        "nft_ctx_buffer_error": (ctypes.c_int, [context]),
        "nft_ctx_get_output_buffer": (text, [context]),
        "nft_ctx_get_error_buffer": (text, [context]),
        "nft_ctx_set_dry_run": (None, [context, ctypes.c_bool]),
        "nft_ctx_output_set_flags": (None, [context, ctypes.c_uint]),
        "nft_run_cmd_from_buffer": (ctypes.c_int, [context, text]),
    }
    for name, (result, arguments) in takes.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
