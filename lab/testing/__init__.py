"""Labs in other projects' tests: a pytest plug-in (``plugin.py``) over a lab that runs (``running.py``)."""

from lab.testing.running import Connection, Lab, Node, Server

__all__ = ["Connection", "Lab", "Node", "Server"]
