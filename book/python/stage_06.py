"""Stage 06: generators that say what they wait for, a broadcast.

    server$ python3 book/python/stage_06.py
    b$ nc 127.0.0.1 3000
    a$ nc 127.0.0.1 3000        type hello, and b hears it
    c$ nc 127.0.0.1 3000        leave with Ctrl-C, let a speak again: the server is gone

After the idea of the article on async servers, "Solving this issue with IO multiplexing". Flaws
kept on purpose:

- A speaker waits until *its own* socket can be written, and then writes to everyone else's.
- Those sockets block: one client that does not read stops everything.
- Who leaves stays in the set of sockets. The next broadcast writes to a closed one: EBADF, and the
  server ends. Those whose turn had not come yet never hear the line.
- An exception ends the server: a reset, no descriptor left in accept, the log line that asks for
  the address of a peer that is gone.
- What recv returned is passed on as it is: a chunk, not a line, so that speakers mix.
- Every turn prints all tasks that are ready.
"""

import argparse
import selectors
import socket
import sys
from collections import deque

sockets = set()


def log(*words):
    print(*words, file=sys.stderr)


class EventLoop:
    def __init__(self):
        self.tasks = deque()
        self.sel = selectors.DefaultSelector()

    def create_task(self, task):
        self.tasks.append(task)

    def run(self):
        while True:
            log("tasks", self.tasks)
            if self.tasks:
                task = self.tasks.popleft()
                try:
                    operation, sock = next(task)
                except StopIteration:
                    continue
                if operation == "read":
                    self.sel.register(sock, selectors.EVENT_READ, task)
                elif operation == "write":
                    self.sel.register(sock, selectors.EVENT_WRITE, task)
                else:
                    raise ValueError("no such operation: {!r}".format(operation))
            else:
                for key, _ in self.sel.select():
                    self.sel.unregister(key.fileobj)
                    self.create_task(key.data)


def run_server(host, port):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    sock.listen()
    print("listening on {}:{}".format(*sock.getsockname()), flush=True)
    while True:
        log("about to accept")
        yield "read", sock
        client_sock, address = sock.accept()
        log("connection from", address)
        sockets.add(client_sock)
        loop.create_task(handle_client(client_sock))


def broadcast(sender_sock, message):
    for sock in sockets:
        if sock is not sender_sock:
            sock.sendall(message)


def handle_client(sock):
    log("serving", sock)
    while True:
        yield "read", sock
        data = sock.recv(4096)
        log("received", data)
        if not data:
            break
        yield "write", sock
        broadcast(sock, data)

    log("client disconnected:", sock.getpeername())
    sock.close()


loop = EventLoop()

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3000)
    loop.create_task(run_server(**vars(parser.parse_args())))
    loop.run()
