"""A wire between two network namespaces, for packets of IP: late, lossy or cut, as it is told.

    wire.py NAMESPACE ADDRESS NAMESPACE ADDRESS

It writes `laid` once it is there. Each line of stdin says what it is like from then on:
`DELAY_MS LOSS_PERCENT`; at 100 nothing comes through. It is gone with whoever writes them.

The kernel's own way would be `tc ... netem`, which not every kernel has; nearly all have TUN.
"""

import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
PACKET_BYTES = 65536
# What a router would let wait for its turn.
QUEUE_LEN = 1000


def end(namespace, address, nth):
    """An interface in `namespace`, and the file that has its packets."""
    name = f"rb{os.getpid()}-{nth}"
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH14x", name.encode(), IFF_TUN | IFF_NO_PI))
    subprocess.run(["ip", "link", "set", name, "netns", namespace], check=True)
    for what in (f"addr add {address} dev {name}", f"link set {name} up", "link set lo up"):
        subprocess.run(["ip", "-n", namespace, *what.split()], check=True)
    return tun


def main():
    ends = [end(*sys.argv[1:3], 0), end(*sys.argv[3:5], 1)]
    across = {ends[0]: ends[1], ends[1]: ends[0]}
    delay, loss = 0.0, 0.0
    under_way, number, told = [], 0, b""
    print("laid", flush=True)
    while True:
        wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        ready, _, _ = select.select([0, *ends], [], [], wait)
        if 0 in ready:
            read = os.read(0, 1024)
            if not read:
                return
            *lines, told = (told + read).split(b"\n")
            for line in lines:
                milliseconds, percent = map(float, line.split())
                delay, loss = milliseconds / 1000, percent / 100
                if loss == 1:
                    under_way.clear()
        for tun in ends:
            if tun in ready:
                packet = os.read(tun, PACKET_BYTES)
                if random.random() >= loss and len(under_way) < QUEUE_LEN:
                    number += 1
                    due = time.monotonic() + delay
                    heapq.heappush(under_way, (due, number, across[tun], packet))
        while under_way and under_way[0][0] <= time.monotonic():
            _, _, to, packet = heapq.heappop(under_way)
            try:
                os.write(to, packet)
            except OSError:
                # An end that has no room loses it.
                pass


main()
