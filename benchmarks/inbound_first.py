"""Sends first packets of TCP connections, and prints the CPU microseconds of one; started by ``inbound.py``.

python -m benchmarks.inbound_first ADDRESS PORT
"""

import socket
import sys
import time

from lab.verify import experiment as ex
from lab.verify.probe.packets import Template

SOURCE = "198.51.100.20"
COUNT = 20_000
FIRST_PORT = 20_000


def main() -> None:
    address, port = sys.argv[1], int(sys.argv[2])
    send = ex.Send(sender="", private=SOURCE, destination=address, protocol="tcp", watches=())
    template = Template(send, port)
    packets = [bytes(template.packet(FIRST_PORT + number, number % 0x10000)) for number in range(COUNT)]
    opened = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
    began = time.thread_time_ns()
    for packet in packets:
        opened.sendto(packet, (address, 0))
    print((time.thread_time_ns() - began) / COUNT / 1000)


if __name__ == "__main__":
    main()
