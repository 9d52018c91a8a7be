"""Python's websockets: sends messages and prints the answers. Usage: client.py URL CA-FILE|- UNIX-SOCKET|- MESSAGE…"""

import asyncio
import ssl
import sys

import websockets


async def main():
    url, ca, unix, *messages = sys.argv[1:]
    tls = {} if ca == "-" else {"ssl": ssl.create_default_context(cafile=ca)}
    connection = websockets.connect(url, **tls) if unix == "-" else websockets.unix_connect(unix, url)
    async with connection as socket:
        for message in messages:
            await socket.send(message)
            print(await socket.recv())
        await socket.send(b"\x00\xff")
        answer = await socket.recv()
        print(answer.hex() if isinstance(answer, bytes) else answer)
        waiter = await socket.ping()
        await waiter
        print("pong")
    print("closed", socket.close_code)


asyncio.run(main())
