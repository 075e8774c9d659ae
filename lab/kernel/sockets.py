"""What sockets of several owners need of the kernel."""

import socket

_SO_RCVBUFFORCE = 33  # asm-generic/socket.h


def enlarge(opened: socket.socket, size: int) -> None:
    """Let as many bytes wait to be received, whatever the machine lets anybody else have.

    Root of a user namespace only gets as much as the machine lets anybody have.
    """
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
    except PermissionError:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
