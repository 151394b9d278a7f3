"""Stage 03: thread pool, twenty workers.

    server$ python3 book/python/stage_03.py
    a$ nc 127.0.0.1 3000        the first twenty clients: type hello, and hello comes back
    b$ nc 127.0.0.1 3000        client 21: connected, and nothing comes until one of them leaves

After the idea of the article on async servers, "Using Thread pools". Flaws kept on purpose:

- Twenty silent clients deny the service to everyone: client 21 is accepted and never read. The
  queue that it waits in is silent and has no bound.
- What goes wrong in a worker vanishes in a Future that nobody looks at.
- As in stage 02: an error in accept ends the main thread only; Ctrl-C waits for every client; the
  last log line may fail before the socket is closed.
- A set of sockets is made and never used.
"""

import argparse
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

sockets = set()

pool = ThreadPoolExecutor(max_workers=20)


def log(*words):
    print(*words, file=sys.stderr)


def handle_connection(sock):
    while True:
        data = sock.recv(4096)
        if not data:
            break
        sock.sendall(data)

    log("client disconnected:", sock.getpeername())
    sock.close()


def run_server(host, port):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    sock.listen()
    print("listening on {}:{}".format(*sock.getsockname()), flush=True)
    while True:
        client_sock, address = sock.accept()
        log("connection from", address)
        pool.submit(handle_connection, client_sock)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3000)
    run_server(**vars(parser.parse_args()))
