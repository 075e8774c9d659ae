"""Flows a second of scapy's own sr1, over one socket that stays open: a program of its own, to be run inside a node.

    python scapy_yardstick.py SOURCE ADDRESS FLOWS

The address must answer TCP, if only by refusing. scapy reads the interfaces of where it is
imported; it finds no source address for a route whose gateway is on-link, so it is told.
"""

import json
import sys
import time

from scapy.all import IP, TCP, conf, get_if_hwaddr


def main() -> None:
    source, address, flows = sys.argv[1], sys.argv[2], int(sys.argv[3])
    opened = conf.L3socket(iface="eth0", filter="tcp")
    # A lab has no ARP: both ends of a wire have one hardware address.
    conf.netcache.arp_cache[conf.route.route(address)[2]] = get_if_hwaddr("eth0")
    began = time.monotonic()
    answers = [
        opened.sr1(IP(src=source, dst=address) / TCP(sport=20000 + number, dport=9), timeout=1, verbose=0)
        for number in range(flows)
    ]
    seconds = time.monotonic() - began
    opened.close()
    matched = sum(answer is not None for answer in answers)
    print(json.dumps({"sent": flows, "matched": matched, "seconds": seconds, "rate": matched / seconds}))


if __name__ == "__main__":
    main()
