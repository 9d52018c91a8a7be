"""A client that floods and never reads: port, plain|tls, pongs|empty|fragments|texts, seconds at most.

Prints one JSON line when its connection ends or its time is up: {"cut": bool, "after": seconds, "sent": bytes}.
"""
import json
import os
import socket
import ssl
import struct
import sys
import time

port, mode, kind, seconds = int(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4])
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
sock = socket.create_connection(("127.0.0.1", port))
if mode == "tls":
    sock = context.wrap_socket(sock)
sock.sendall(
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
head = b""
while b"\r\n\r\n" not in head:
    head += sock.recv(4096)
zero = b"\0\0\0\0"
first = b""
if kind == "pongs":
    one = b"\x8a\x80" + zero
elif kind == "empty":
    first, one = b"\x01\x80" + zero, b"\x00\x80" + zero
elif kind == "fragments":
    body = os.urandom(16 * 1024)
    first, one = b"\x02\x80" + zero, b"\x00\xfe" + struct.pack(">H", len(body)) + zero + body
else:
    one = b"\x81\x82" + zero + b"hi"
sock.sendall(first)
block = one * max(1, 65536 // len(one))
sent, began, cut = 0, time.time(), False
while time.time() - began < seconds:
    try:
        sock.sendall(block)
        sent += len(block)
    except OSError:
        cut = True
        break
print(json.dumps({"cut": cut, "after": time.time() - began, "sent": sent}))
