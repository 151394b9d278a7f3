"""Stage 01: blocking echo, one client at a time.

    server$ python3 book/python/stage_01.py
    a$ nc 127.0.0.1 3000        type hello, and hello comes back
    b$ nc 127.0.0.1 3000        type hello, and nothing comes until a leaves

After the idea of the article on async servers, "Simple echo server". Flaws kept on purpose:

- The second client waits: the one thread sleeps in recv on the first one's socket.
- An exception ends the server: one client that resets its connection is enough.
- The last log line asks for the address of a peer that may be gone: ENOTCONN, and the server ends.
- No limits, no time-outs, no close on errors, IPv4 only. (Stages 02 to 06 share these.)
"""

import argparse
import socket
import sys


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
        handle_connection(client_sock)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3000)
    run_server(**vars(parser.parse_args()))
