/* A long, lossy or narrow way between two network namespaces, in user space: two TUN devices, and what is
   read at one is written to the other `DELAY` later.

   link DELAY_MS LOSS_PERCENT MBIT PID_A PID_B

   Delay is for one direction. Each direction loses packets at random, and carries at most MBIT (0: as much as
   comes), behind a queue of 50 ms beyond which it drops. The devices are called `way` in the namespaces of the
   two processes. Says "ready" when they are there; ends when its input does. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define SLOTS (1 << 16)
#define MTU 1500
#define QUEUE_NS 50000000L

struct packet {
    long due;
    int size;
    char bytes[MTU];
};

struct way {
    int from, to;
    unsigned long head, tail;
    long free_at; /* when the line has sent what it was given */
    struct packet *ring;
};

static long delay;
static double loss, ns_per_byte;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

/* A device belongs to the namespace in which it was opened; the descriptor goes on from anywhere. */
static int tun(const char *pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/ns/net", pid);
    int space = open(path, O_RDONLY | O_CLOEXEC);
    if (space < 0 || setns(space, CLONE_NEWNET))
        die("namespace");
    struct ifreq ask = {.ifr_name = "way", .ifr_flags = IFF_TUN | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &ask))
        die("tun");
    close(space);
    return fd;
}

static void take(struct way *way)
{
    for (int i = 0; i < 256 && way->tail - way->head < SLOTS; i++) {
        struct packet *packet = way->ring + way->tail % SLOTS;
        packet->size = read(way->from, packet->bytes, MTU);
        if (packet->size <= 0)
            return;
        if (drand48() < loss)
            continue;
        long at = now(), start = way->free_at > at ? way->free_at : at;
        if (start - at > QUEUE_NS)
            continue;
        way->free_at = start + (long)(packet->size * ns_per_byte);
        packet->due = way->free_at + delay;
        way->tail++;
    }
}

static void give(struct way *way)
{
    while (way->head < way->tail && way->ring[way->head % SLOTS].due <= now()) {
        struct packet *packet = way->ring + way->head++ % SLOTS;
        /* A full device drops, as a real one does. */
        if (write(way->to, packet->bytes, packet->size) < 0)
            continue;
    }
}

int main(int argc, char **argv)
{
    if (argc != 6)
        return 2;
    delay = (long)(atof(argv[1]) * 1e6), loss = atof(argv[2]) / 100;
    ns_per_byte = atof(argv[3]) > 0 ? 8000 / atof(argv[3]) : 0;
    int a = tun(argv[4]), b = tun(argv[5]);
    struct way ways[2] = {{.from = a, .to = b}, {.from = b, .to = a}};
    for (int i = 0; i < 2; i++)
        if (!(ways[i].ring = malloc(SLOTS * sizeof(struct packet))))
            die("memory");
    puts("ready");
    fflush(stdout);
    for (;;) {
        long wait = 1000000000L;
        for (int i = 0; i < 2; i++) {
            give(ways + i);
            if (ways[i].head < ways[i].tail) {
                long rest = ways[i].ring[ways[i].head % SLOTS].due - now();
                wait = rest < wait ? rest : wait;
            }
        }
        struct pollfd polled[3] = {{a, POLLIN, 0}, {b, POLLIN, 0}, {0, POLLIN, 0}};
        struct timespec limit = {wait > 0 ? wait / 1000000000L : 0, wait > 0 ? wait % 1000000000L : 0};
        if (ppoll(polled, 3, &limit, NULL) < 0)
            die("poll");
        if (polled[2].revents)
            return 0;
        for (int i = 0; i < 2; i++)
            take(ways + i);
    }
}
