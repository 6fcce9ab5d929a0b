"""Is a qcow2 file as long as its own header says? Nothing is opened beneath it and no format is guessed.

QEMU writes the file, so its figures are a hint: they can make us call a whole disk cut off, and nothing more.
Offsets from QEMU's docs/interop/qcow2.txt.
"""

import os
import struct
from pathlib import PurePosixPath

# magic, version, cluster_bits, l1_size, offsets of the l1 and the refcount table, clusters of the latter
_HEADER = struct.Struct(">4sI8x4xI8x4xIQQI")
_MAGIC = b"QFI\xfb"
_LARGEST_CLUSTER_BITS = 21


def is_whole(path: PurePosixPath) -> bool:
    """Are the tables that the header names inside the file? True for what is no qcow2 file, or cannot be read."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        length = os.fstat(file).st_size
        header = os.read(file, _HEADER.size)
    except OSError:
        return True
    finally:
        os.close(file)
    if not header.startswith(_MAGIC):
        return True
    if len(header) < _HEADER.size:
        return False
    _magic, _version, cluster_bits, l1_size, l1_offset, refcount_offset, refcount_clusters = _HEADER.unpack(header)
    clusters = refcount_clusters << min(cluster_bits, _LARGEST_CLUSTER_BITS)
    return bool(length >= max(l1_offset + 8 * l1_size, refcount_offset + clusters))
