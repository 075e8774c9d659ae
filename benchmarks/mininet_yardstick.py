"""The seconds that Mininet takes for one bridge with N hosts: a program of its own, for the system's Python.

    unshare --net /usr/bin/python3 mininet_yardstick.py N

Its bridge is made in the network namespace that it is started in.
"""

import json
import sys
import time

from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.nodelib import LinuxBridge
from mininet.topo import SingleSwitchTopo


def main() -> None:
    setLogLevel("error")
    Mininet.inited = True  # it would otherwise raise limits of the whole machine
    times = [time.monotonic()]
    made = Mininet(topo=SingleSwitchTopo(k=int(sys.argv[1])), switch=LinuxBridge, controller=None, waitConnected=False)
    try:
        made.start()
        times.append(time.monotonic())
        answer = made.hosts[0].cmd(f"ping -c1 -W2 {made.hosts[-1].IP()}")
    finally:
        times.append(time.monotonic())
        made.stop()
        times.append(time.monotonic())
    assert " 0% packet loss" in answer, answer
    print(json.dumps({"up": times[1] - times[0], "gone": times[3] - times[2]}))


if __name__ == "__main__":
    main()
