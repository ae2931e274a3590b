// A packet wire with delay, jitter, loss, rate and a hole between two network namespaces, for kernels without netem.
//
// usage: wire NS_A DEV_A NS_B DEV_B FILE
//
// It makes the TUN device DEV_A in the `ip netns` NS_A and DEV_B in NS_B and carries packets between them.  FILE holds
// "delay_ms jitter_ms loss_pct rate_mbit queue_kb hole", one way, for both ways, each way with a queue of its own; 0 means
// off (queue: 4096).  The order of packets is kept: jitter never reorders.
//
// SIGHUP: read FILE again.  SIGUSR1: print the counters.  SIGTERM, SIGINT: end; the devices vanish with the process.
// Prints "ready" once both devices exist.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { MAX_PACKET = 65536, BURST = 256, DEFAULT_QUEUE_KB = 4096, RETRY_NS = 100000 };

struct packet {
    struct packet *next;
    uint64_t due;
    int length;
    unsigned char bytes[];
};

struct way {
    int from, to;
    struct packet *head, *tail;
    long queued;                    // bytes
    uint64_t link_free, last_due;   // ns
    unsigned long forwarded, dropped;
};

static struct {
    double delay_ms, jitter_ms, loss_pct, rate_mbit;
    long queue;                     // bytes
    int hole;
} wire;

static volatile sig_atomic_t reload = 1, report, quit;

static void on_signal(int number) {
    if (number == SIGHUP)
        reload = 1;
    else if (number == SIGUSR1)
        report = 1;
    else
        quit = 1;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static int tun_in(const char *namespace, const char *device) {
    char path[256];
    snprintf(path, sizeof path, "/run/netns/%s", namespace);
    int ns = open(path, O_RDONLY | O_CLOEXEC);
    if (ns < 0 || setns(ns, CLONE_NEWNET))
        fail(path);
    close(ns);

    int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (tun < 0)
        fail("/dev/net/tun");
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", device);
    if (ioctl(tun, TUNSETIFF, &request))
        fail(device);
    return tun;
}

static void read_settings(const char *path) {
    memset(&wire, 0, sizeof wire);
    FILE *file = fopen(path, "r");
    if (file) {
        if (fscanf(file, "%lf %lf %lf %lf %ld %d", &wire.delay_ms, &wire.jitter_ms, &wire.loss_pct, &wire.rate_mbit,
                   &wire.queue, &wire.hole) < 1)
            fprintf(stderr, "%s: no settings in it\n", path);
        fclose(file);
    }
    if (wire.queue <= 0)
        wire.queue = DEFAULT_QUEUE_KB;
    wire.queue *= 1024;
}

static uint64_t due_time(struct way *way, int length) {
    uint64_t time = now();
    if (wire.rate_mbit > 0) { // the link is busy until the packets before this one have been sent
        uint64_t begin = time > way->link_free ? time : way->link_free;
        way->link_free = begin + (uint64_t)(length * 8e3 / wire.rate_mbit);
        time = way->link_free;
    }
    time += (uint64_t)((wire.delay_ms + drand48() * wire.jitter_ms) * 1e6);
    if (time < way->last_due)
        time = way->last_due;
    return way->last_due = time;
}

static void take(struct way *way) {
    unsigned char buffer[MAX_PACKET];
    int length;
    for (int k = 0; k < BURST && (length = (int)read(way->from, buffer, sizeof buffer)) > 0; k++) {
        struct packet *packet = NULL;
        int lost = wire.hole || (wire.loss_pct > 0 && drand48() * 100 < wire.loss_pct) || way->queued + length > wire.queue;
        if (!lost)
            packet = malloc(sizeof *packet + (size_t)length);
        if (!packet) {
            way->dropped++;
            continue;
        }
        packet->next = NULL;
        packet->due = due_time(way, length);
        packet->length = length;
        memcpy(packet->bytes, buffer, (size_t)length);
        if (way->tail)
            way->tail->next = packet;
        else
            way->head = packet;
        way->tail = packet;
        way->queued += length;
    }
}

static void deliver(struct way *way, uint64_t time) {
    while (way->head && way->head->due <= time) {
        struct packet *packet = way->head;
        if (wire.hole) {
            way->dropped++;
        } else if (write(way->to, packet->bytes, (size_t)packet->length) >= 0) {
            way->forwarded++;
        } else if (errno == EAGAIN) {
            packet->due = time + RETRY_NS;
            return;
        } else { // the device is down
            way->dropped++;
        }
        way->head = packet->next;
        if (!way->head)
            way->tail = NULL;
        way->queued -= packet->length;
        free(packet);
    }
}

static void set_timer(int timer, uint64_t due) { // 0 = none
    struct itimerspec when = {0};
    if (due) {
        when.it_value.tv_sec = (time_t)(due / 1000000000ull);
        when.it_value.tv_nsec = (long)(due % 1000000000ull);
    }
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: wire NS_A DEV_A NS_B DEV_B FILE\n");
        return 2;
    }
    struct sigaction action = {.sa_handler = on_signal};
    const int signals[] = {SIGHUP, SIGUSR1, SIGTERM, SIGINT};
    sigset_t blocked, usual;
    sigemptyset(&blocked);
    for (size_t k = 0; k < sizeof signals / sizeof *signals; k++) {
        sigaction(signals[k], &action, NULL);
        sigaddset(&blocked, signals[k]);
    }
    sigprocmask(SIG_BLOCK, &blocked, &usual); // they arrive in ppoll alone, so none is missed

    srand48(getpid());
    int a = tun_in(argv[1], argv[2]), b = tun_in(argv[3], argv[4]);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (timer < 0)
        fail("timerfd");
    struct way ways[2] = {{.from = a, .to = b}, {.from = b, .to = a}};
    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("ready");

    while (!quit) {
        if (reload) {
            reload = 0;
            read_settings(argv[5]);
        }
        if (report) {
            report = 0;
            printf("a>b forwarded %lu, dropped %lu, queued %ld bytes; b>a forwarded %lu, dropped %lu, queued %ld bytes\n",
                   ways[0].forwarded, ways[0].dropped, ways[0].queued, ways[1].forwarded, ways[1].dropped, ways[1].queued);
        }
        uint64_t time = now(), next = 0;
        for (int k = 0; k < 2; k++) {
            deliver(&ways[k], time);
            if (ways[k].head && (!next || ways[k].head->due < next))
                next = ways[k].head->due;
        }
        set_timer(timer, next);
        struct pollfd ready[] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}, {.fd = timer, .events = POLLIN}};
        if (ppoll(ready, 3, NULL, &usual) < 0)
            continue; // a signal
        uint64_t expirations;
        if (ready[2].revents && read(timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN)
            fail("timerfd");
        if (ready[0].revents)
            take(&ways[0]);
        if (ready[1].revents)
            take(&ways[1]);
    }
    return 0;
}
