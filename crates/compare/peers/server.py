"""Echo and broadcast on asyncio, or on uvloop, as one writes them there: a Protocol for the echo,
streams for the chat. Usage: server.py asyncio|uvloop echo|broadcast [--port N]"""

import asyncio
import sys


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


clients = set()


async def chat(reader, writer):
    clients.add(writer)
    try:
        while line := await reader.readline():
            for client in list(clients):
                if client is not writer:
                    client.write(line)
                    await client.drain()
    except ConnectionError:
        pass
    finally:
        clients.discard(writer)
        writer.close()


async def main(mode, port):
    if mode == "echo":
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", port, backlog=4096)
    else:
        server = await asyncio.start_server(chat, "127.0.0.1", port, backlog=4096)
    host, port = server.sockets[0].getsockname()[:2]
    print(f"listening on {host}:{port}", flush=True)
    await server.serve_forever()


if sys.argv[1] == "uvloop":
    import uvloop

    uvloop.install()
asyncio.run(main(sys.argv[2], int(sys.argv[4]) if len(sys.argv) > 4 else 3000))
