"""Clients that leave right after an upgrade request.

port, plain|tls, close|reset, path, how many, seconds to stay (0)
"""
import socket
import ssl
import struct
import sys
import threading
import time

port, mode, how, path, count = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5])
stay = float(sys.argv[6]) if len(sys.argv) > 6 else 0
THREADS = 10
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
request = (
    "GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n" % path
).encode()


def run(times):
    for turn in range(times):
        try:
            sock = socket.create_connection(("127.0.0.1", port), timeout=20)
            if mode == "tls":
                sock = context.wrap_socket(sock)
            sock.sendall(request)
            if stay:
                time.sleep(stay * (turn % 5) / 5)
            if how == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        except OSError as error:
            print(error, file=sys.stderr)


threads = [threading.Thread(target=run, args=(count // THREADS,)) for _ in range(THREADS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
