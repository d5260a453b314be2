"""Run a command in a network namespace with nothing but loopback: unshare -rn python alone.py ...

Trainings of several processes talk to each other over loopback, which is down in a new namespace.
"""

import fcntl
import os
import socket
import struct
import sys

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    request = struct.pack("16sH14x", b"lo", 0)
    answer = fcntl.ioctl(any_socket, SIOCGIFFLAGS, request)
    flags = struct.unpack("16sH14x", answer)[1] | IFF_UP
    fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags))
os.execvp(sys.argv[1], sys.argv[1:])
