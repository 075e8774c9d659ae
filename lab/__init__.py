"""Azure's documented data plane on one Linux machine, proved with real packets."""

__version__ = "0.1.0"
