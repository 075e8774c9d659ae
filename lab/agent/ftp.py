"""The FTP server of a node: ``python -m lab.ftp FOLDER``, with the listening socket as its standard input.

Real, and plain: anonymous reading of one folder, active and passive. A data connection that the server opens comes
from the port below that of its commands, 20 for 21 (RFC 959, 3.2): a client that insists on that sees whether an
address translation on the way has kept the port. Nothing on the way is told to expect data connections.
"""

import logging
import os
import socket
import sys

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer

#: List folders, change to them, read files.
_MAY = "elr"


class _FromDataPort(FTPHandler.active_dtp):  # type: ignore[misc]
    """A data connection that the server opens, from the port that the protocol gives it."""

    def connect_af_unspecified(self, addr: tuple[str, int], source_address: tuple[str, int]) -> int:
        """Connect from the port below that of commands."""
        port = self.cmd_channel.socket.getsockname()[1] - 1
        made: int = super().connect_af_unspecified(addr, (source_address[0], port))
        return made

    def bind(self, addr: tuple[str, int]) -> None:
        """Take a port that earlier connections may have had, to other clients or until a moment ago."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        super().bind(addr)


class _Handler(FTPHandler):  # type: ignore[misc]
    active_dtp = _FromDataPort
    banner = "lab"
    use_sendfile = False


def main() -> None:
    """Serve a folder until the process is ended."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    authorizer = DummyAuthorizer()
    authorizer.add_anonymous(sys.argv[1], perm=_MAY)
    _Handler.authorizer = authorizer
    FTPServer(socket.socket(fileno=os.dup(0)), _Handler).serve_forever()


if __name__ == "__main__":
    main()
