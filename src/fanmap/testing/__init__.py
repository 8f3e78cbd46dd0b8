"""What fanmap is tested with, for tests of your own: virtual time, a simulated LLM and a loopback server."""

from fanmap.testing._batch_script import BatchScript, SimulatedBatch
from fanmap.testing._batches import Batches
from fanmap.testing._baton import Deadlock
from fanmap.testing._provider import Record
from fanmap.testing._script import Reply, Request
from fanmap.testing._server import Server, serve
from fanmap.testing._simulated import SimulatedAPIError, SimulatedLLM
from fanmap.testing._store import SimulatedStore
from fanmap.testing._virtual import VirtualTime, sleep

__all__ = [
    "BatchScript",
    "Batches",
    "Deadlock",
    "Record",
    "Reply",
    "Request",
    "Server",
    "SimulatedAPIError",
    "SimulatedBatch",
    "SimulatedLLM",
    "SimulatedStore",
    "VirtualTime",
    "serve",
    "sleep",
]
