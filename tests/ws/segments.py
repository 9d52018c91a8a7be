"""Counts the TCP segments in which the answer to one message comes. segments.py PORT BYTES

Prints segments with data that came after the message was sent, until BYTES of frames were read.
"""

import os
import socket
import ssl
import struct
import sys

# struct tcp_info of linux/tcp.h: tcpi_data_segs_in (Linux 4.6).
DATA_SEGMENTS_IN = 152

port, expected = int(sys.argv[1]), int(sys.argv[2])
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
conn = context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=60))


def segments():
    info = conn.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return struct.unpack_from("I", info, DATA_SEGMENTS_IN)[0]


conn.sendall(
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
head = b""
while not head.endswith(b"\r\n\r\n"):
    head += conn.recv(1)
before = segments()
conn.sendall(b"\x81\x82" + bytes(4) + b"go")
received = 0
while received < expected:
    data = conn.recv(65536)
    if not data:
        sys.exit("the service ended the connection")
    received += len(data)
print(segments() - before)
os._exit(0)
