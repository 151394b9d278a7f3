"""Stage 02: thread per client.

    server$ python3 book/python/stage_02.py
    a$ nc 127.0.0.1 3000        type hello, and hello comes back
    b$ nc 127.0.0.1 3000        type hello, and hello comes back, too

After the idea of the article on async servers, "Introducing Threads". Flaws kept on purpose:

- Nothing bounds the threads: 200 idle clients are 201 of them.
- An error in accept (no descriptor, no thread left) ends the main thread only: the process lives
  on, its port open, and accepts nobody.
- The threads are no daemons: Ctrl-C ends the main thread, and the process waits for every client.
- The last log line asks for the address of a peer that may be gone: ENOTCONN, and the thread dies
  before it closes the socket.
"""

import argparse
import socket
import sys
import threading


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
        thread = threading.Thread(target=handle_connection, args=[client_sock])
        thread.start()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3000)
    run_server(**vars(parser.parse_args()))
