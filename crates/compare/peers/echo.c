/* An echo directly on epoll, edge-triggered, as small as it can honestly be: the mark for what the
 * kernel allows. Usage: echo [--port N]; it prints its address like the stages do. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

struct client {
    int fd;
    size_t from, to; /* what is read and not yet written */
    char buffer[16384];
};

static void leave(struct client *client) {
    close(client->fd);
    free(client);
}

/* Reads and writes until the socket has no more, or takes no more. */
static void serve(struct client *client) {
    for (;;) {
        while (client->from < client->to) {
            ssize_t written = send(client->fd, client->buffer + client->from,
                                   client->to - client->from, MSG_NOSIGNAL);
            if (written < 0) {
                if (errno == EAGAIN) return;
                leave(client);
                return;
            }
            client->from += written;
        }
        ssize_t received = recv(client->fd, client->buffer, sizeof client->buffer, 0);
        if (received < 0 && errno == EAGAIN) return;
        if (received <= 0) {
            leave(client);
            return;
        }
        client->from = 0;
        client->to = received;
    }
}

int main(int argc, char **argv) {
    int port = argc == 3 && !strcmp(argv[1], "--port") ? atoi(argv[2]) : 3000, on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t length = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), poll = epoll_create1(0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 4096)) {
        perror("cannot listen");
        return 1;
    }
    getsockname(listener, (struct sockaddr *)&address, &length);
    printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[1024];
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(poll, events, 1024, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr) {
                serve(events[i].data.ptr);
                continue;
            }
            for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
                struct client *client = malloc(sizeof *client);
                client->fd = fd;
                client->from = client->to = 0;
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
                event.data.ptr = client;
                epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
            }
        }
    }
}
