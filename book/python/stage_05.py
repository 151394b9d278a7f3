"""Stage 05: generators that take turns, an echo.

    server$ python3 book/python/stage_05.py
    a$ nc 127.0.0.1 3000        type hello: nothing comes back
    b$ nc 127.0.0.1 3000        still nothing
    c$ nc 127.0.0.1 3000        now a hears its hello, and then nobody hears anything

After the idea of the article on async servers, "Generators as Coroutines". Flaws kept on purpose:

- A yield before a blocking call does not make it wait: the loop sleeps in accept, and an echo
  comes only after two more clients have connected (the article says one). Then the loop sleeps in
  recv on the first of them that is silent, for ever.
- A client that connects and leaves at once is one more task that takes its turns.
- An exception ends the server: a reset, or the log line that asks for the address of a peer that
  is gone.
- Every turn of every task is printed.
"""

import argparse
import socket
import sys
from collections import deque


def log(*words):
    print(*words, file=sys.stderr)


class EventLoop:
    def __init__(self):
        self.tasks_to_run = deque()

    def create_task(self, coro):
        self.tasks_to_run.append(coro)

    def run(self):
        while self.tasks_to_run:
            task = self.tasks_to_run.popleft()
            log("running", task)
            try:
                next(task)
            except StopIteration:
                log("finished", task)
            else:
                self.create_task(task)


def run_server(host, port):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    sock.listen()
    print("listening on {}:{}".format(*sock.getsockname()), flush=True)
    while True:
        log("about to accept")
        yield
        client_sock, address = sock.accept()
        log("connection from", address)
        loop.create_task(handle_client(client_sock))


def handle_client(sock):
    log("serving", sock)
    while True:
        yield
        data = sock.recv(4096)
        log("received", data)
        if not data:
            break
        yield
        sock.sendall(data)

    log("client disconnected:", sock.getpeername())
    sock.close()


loop = EventLoop()

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3000)
    loop.create_task(run_server(**vars(parser.parse_args())))
    loop.run()
