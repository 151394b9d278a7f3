"""Stage 04: select loop with callbacks, a broadcast.

    server$ python3 book/python/stage_04.py
    b$ nc 127.0.0.1 3000
    a$ nc 127.0.0.1 3000        type hello, and b hears it
    c$ nc 127.0.0.1 3000        leave with Ctrl-C, let a speak again: the server is gone

After the idea of the article on async servers, "Let's use IO multiplexing". Flaws kept on purpose:

- Who leaves stays in the set of sockets. The next broadcast writes to a closed one: EBADF, and the
  server ends. Those whose turn had not come yet never hear the line.
- An exception ends the server: a reset, no descriptor left in accept, the log line that asks for
  the address of a peer that is gone.
- sendall to a blocking socket, in the loop: one client that does not read stops everything.
- What recv returned is passed on as it is: a chunk, not a line, so that speakers mix.
"""

import argparse
import selectors
import socket
import sys

sockets = set()
sel = selectors.DefaultSelector()


def log(*words):
    print(*words, file=sys.stderr)


# ANCHOR: clients
def broadcast(broadcaster, message):
    for sock in sockets:
        if sock is not broadcaster:
            sock.sendall(message)


def handle_connection(sock):
    data = sock.recv(4096)
    if data:
        broadcast(sock, data)
    else:
        log("client disconnected:", sock.getpeername())
        sel.unregister(sock)
        sock.close()


def accept(sock):
    client_sock, address = sock.accept()
    log("connection from", address)
    sockets.add(client_sock)
    sel.register(client_sock, selectors.EVENT_READ, handle_connection)
# ANCHOR_END: clients


def setup_server_socket(host, port):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    sock.listen()
    print("listening on {}:{}".format(*sock.getsockname()), flush=True)
    sel.register(sock, selectors.EVENT_READ, accept)


def run_event_loop():
    while True:
        for key, _ in sel.select():
            callback = key.data
            callback(key.fileobj)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3000)
    setup_server_socket(**vars(parser.parse_args()))
    run_event_loop()
