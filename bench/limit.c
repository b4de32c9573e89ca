/* The limit: what one thread in C needs at least to fetch a file by ranges over HTTP.

   limit HOST PORT PATH DEST CONNECTIONS map|write

   It asks for one byte to learn the size, reserves the file, and gives each connection an equal part as one
   request. `map`: the kernel copies from the socket straight to its place in the map, whose pages are
   populated 2 MiB ahead. `write`: by way of 512 KiB that stay in the processor's cache. Nothing is checked
   but status and lengths: no hash, no index, no retry, no TLS. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#define AHEAD (2L << 20)
#define HEAD_MAX 8192
#define HOT (512L << 10)

struct part {
    int fd;
    long at, stop, populated;
    int head_len; /* -1: the head is over */
    char head[HEAD_MAX];
};

static struct sockaddr_in server;
static const char *host, *path;
static int file;
static char *map; /* NULL: write */
static char hot[HOT];

static void die(const char *what)
{
    fprintf(stderr, "limit: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int ask(long first, long last)
{
    char text[1024];
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&server, sizeof server))
        die("connect");
    int n = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: %s\r\nRange: bytes=%ld-%ld\r\n\r\n", path, host,
                     first, last);
    if (n >= (int)sizeof text || send(fd, text, n, 0) != n)
        die("send");
    return fd;
}

/* Read up to the blank line; what follows it in the buffer is body. 0: not yet. */
static char *read_head(struct part *part, long *body)
{
    int room = HEAD_MAX - 1 - part->head_len;
    ssize_t n = room > 0 ? recv(part->fd, part->head + part->head_len, room, 0) : 0;
    if (n <= 0)
        die("head");
    part->head_len += n;
    part->head[part->head_len] = 0;
    char *end = strstr(part->head, "\r\n\r\n");
    if (!end)
        return NULL;
    if (strncmp(part->head, "HTTP/1.1 206", 12))
        die("status is not 206");
    *body = part->head + part->head_len - (end + 4);
    return end + 4;
}

static long find_size(void)
{
    struct part probe = {.fd = ask(0, 0)};
    long body;
    while (!read_head(&probe, &body))
        ;
    char *range = strcasestr(probe.head, "content-range: bytes 0-0/");
    if (!range)
        die("no content-range");
    close(probe.fd);
    return atol(range + strlen("content-range: bytes 0-0/"));
}

static void populate(struct part *part)
{
    if (part->at < part->populated)
        return;
    long start = part->at & -4096L, stop = start + AHEAD < part->stop ? start + AHEAD : part->stop;
    if (madvise(map + start, stop - start, MADV_POPULATE_WRITE))
        die("populate");
    part->populated = stop;
}

static void put(struct part *part, const char *bytes, long n)
{
    if (map)
        memcpy(map + part->at, bytes, n);
    else if (pwrite(file, bytes, n, part->at) != n)
        die("write");
}

/* One piece; whether the part is complete. */
static int receive(struct part *part)
{
    long n, left = part->stop - part->at;
    if (map)
        populate(part);
    if (part->head_len >= 0) {
        char *start = read_head(part, &n);
        if (!start)
            return 0;
        if (n > left)
            die("too long");
        put(part, start, n);
        part->head_len = -1;
    } else if (map) {
        if ((n = recv(part->fd, map + part->at, part->populated - part->at, 0)) <= 0)
            die("body");
    } else {
        if ((n = recv(part->fd, hot, left < HOT ? left : HOT, 0)) <= 0)
            die("body");
        put(part, hot, n);
    }
    part->at += n;
    return part->at == part->stop;
}

int main(int argc, char **argv)
{
    if (argc != 7)
        die("limit HOST PORT PATH DEST CONNECTIONS map|write");
    host = argv[1], path = argv[3];
    server.sin_family = AF_INET, server.sin_port = htons(atoi(argv[2]));
    if (inet_pton(AF_INET, host, &server.sin_addr) != 1)
        die("address");
    long size = find_size(), count = atol(argv[5]);
    file = open(argv[4], O_RDWR | O_CREAT | O_EXCL, 0644);
    if (file < 0 || fallocate(file, 0, 0, size))
        die(argv[4]);
    if (!strcmp(argv[6], "map"))
        map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    struct part *parts = calloc(count, sizeof *parts);
    if (map == MAP_FAILED || !parts)
        die("memory");
    int poll = epoll_create1(0), left = 0;
    long share = ((size + count - 1) / count + 4095) & -4096L;
    for (long first = 0; first < size; first += share, left++) {
        struct part *part = parts + left;
        part->at = part->populated = first;
        part->stop = first + share < size ? first + share : size;
        part->fd = ask(first, part->stop - 1);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = part};
        if (epoll_ctl(poll, EPOLL_CTL_ADD, part->fd, &event))
            die("epoll");
    }
    while (left) {
        struct epoll_event events[64];
        int n = epoll_wait(poll, events, 64, -1);
        for (int i = 0; i < n; i++) {
            struct part *part = events[i].data.ptr;
            if (receive(part)) {
                close(part->fd);
                left--;
            }
        }
    }
    return 0;
}
