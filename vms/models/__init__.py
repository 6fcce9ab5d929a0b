"""The rows of the machine domain, by noun."""

from .catalogue import Flavor, Image
from .console import ConsoleSession, ConsoleTicket
from .idempotency import IdempotencyRecord
from .node import Network, Node, StoragePool
from .operation import Operation
from .sample import Sample
from .usage import UsageEntry
from .vm import Nic, VirtualMachine, Volume, lock_vm

__all__ = [
    "ConsoleSession",
    "ConsoleTicket",
    "Flavor",
    "IdempotencyRecord",
    "Image",
    "Network",
    "Nic",
    "Node",
    "Operation",
    "Sample",
    "StoragePool",
    "UsageEntry",
    "VirtualMachine",
    "Volume",
    "lock_vm",
]
