"""What a level-triggered selector tells: the example `readiness` of stage 04, in Python.

    $ python3 book/python/readiness.py
"""

import selectors
import socket


def told():
    """What the selector says. All that can happen has happened, so it need not wait for more."""
    events = selector.select(timeout=0.1)
    if not events:
        return "(silence)"
    names = {selectors.EVENT_READ: "readable", selectors.EVENT_WRITE: "writable"}
    return " and ".join(name for event, name in names.items() if events[0][1] & event)


client, server = socket.socketpair()
selector = selectors.DefaultSelector()
selector.register(server, selectors.EVENT_READ)

client.send(b"abcd")
print("4 bytes have come:  ", told())
server.recv(2)
print("2 of them are read: ", told())
server.recv(2)
print("all are read:       ", told())

selector.modify(server, selectors.EVENT_READ | selectors.EVENT_WRITE)
print("asked for both:     ", told())
print("nothing has changed:", told())
