"""What fanmap is tested with, for tests of your own: a simulated LLM and a loopback server."""

from fanmap.testing._provider import Record
from fanmap.testing._script import Reply, Request
from fanmap.testing._server import Server, serve
from fanmap.testing._simulated import SimulatedAPIError, SimulatedLLM

__all__ = ["Record", "Reply", "Request", "Server", "SimulatedAPIError", "SimulatedLLM", "serve"]
