"""Ask a server N times, with one client or each time with a new one: client.py HOST N pooled|unpooled.

A client keeps its connection open for the next request. One that is made anew for each request, and never closed,
keeps as many connections open as there were requests.
"""

import http.client
import sys


def main() -> None:
    """Ask, and fail with the number of the request that got no answer."""
    host, count, mode = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    clients = [http.client.HTTPConnection(host, timeout=2)]
    for number in range(1, count + 1):
        if mode == "unpooled":
            clients.append(http.client.HTTPConnection(host, timeout=2))
        try:
            clients[-1].request("GET", "/")
            clients[-1].getresponse().read()
        except OSError as error:
            sys.exit(f"request {number} of {count}: {error}")
    print(f"{count} requests answered")


main()
