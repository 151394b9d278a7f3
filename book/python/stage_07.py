"""Stage 07: asyncio streams, a broadcast of lines.

    server$ python3 book/python/stage_07.py
    b$ nc 127.0.0.1 3000
    a$ nc 127.0.0.1 3000        type hello, and b hears it; type END: the server is gone

After the idea of the second document, "Asyncio servers in Python". Flaws kept on purpose:

- A broadcast awaits while it walks the set of clients. Who joins or leaves meanwhile changes the
  set: RuntimeError, and the *speaker's* handler dies.
- Only a client that leaves in order is removed. After a reset its writer stays in the set, and
  everyone who speaks dies in drain() on it.
- The speaker's handler waits in drain() for each receiver in turn: who does not read silences
  every speaker.
- A leaver's socket is half-closed and never closed: its descriptor stays until the garbage
  collector comes by (up to Python 3.12).
- A line over 64 KiB raises ValueError in readline(): the handler dies, the client stays in the set.
- The line END from any client stops the server, and is broadcast, too.
- End of input is broadcast as an empty line of no bytes, and a last line without its newline is
  glued to the next speaker's.
- Each message is printed by the loop's one thread; out of descriptors, a traceback for each try.
- run_in_process() starts the child before it waits to hear from it, and may miss the one word that
  it waits for.
- No limits but that one line's, no time-outs.
"""

import argparse
import asyncio
import multiprocessing
import sys


def log(*words):
    print(*words, file=sys.stderr)


class AsynChat:
    def __init__(self, port, client_may_end_connection=False, host="127.0.0.1"):
        self.clients = set()
        self.host = host
        self.port = port
        self.client_may_end_connection = client_may_end_connection
        self.loop = None

    async def handle_connection(self, reader, writer):
        self.clients.add(writer)
        while True:
            line = await reader.readline()
            log(line.strip())
            if self.client_may_end_connection and line.strip() == b"END":
                log("stopping")
                self.loop.stop()
            for other in self.clients:
                if other is not writer:
                    other.write(line)
                    await other.drain()
            if not line:
                self.clients.discard(writer)
                try:
                    writer.write_eof()
                except OSError:
                    pass  # The client may be gone already.
                return

    async def echo_server(self):
        server = await asyncio.start_server(self.handle_connection, self.host, self.port)
        print("listening on {}:{}".format(*server.sockets[0].getsockname()), flush=True)

    @classmethod
    def run_in_process(cls, *args, **kwargs):
        """Starts a server in a process of its own and returns that when it is ready."""
        fork = multiprocessing.get_context("fork")
        ready = fork.Condition(fork.Lock())

        def build_and_run():
            cls(*args, **kwargs).run_loop(ready)

        process = fork.Process(target=build_and_run)
        process.start()
        with ready:
            ready.wait()
        return process

    def run_loop(self, ready=None):
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(self.echo_server())

        def notify():
            with ready:
                ready.notify()

        try:
            if ready:
                self.loop.call_soon(notify)
            self.loop.run_forever()
        finally:
            self.loop.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3000)
    options = parser.parse_args()
    AsynChat(options.port, client_may_end_connection=True, host=options.host).run_loop()
