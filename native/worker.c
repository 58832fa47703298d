/* Workers and lanes: who runs when, and who waits for whom.
 *
 * A worker waits in epoll, takes its lane's lock, pumps what is ready, and lets go: that is a burst.
 * A call from Python closes the gate, so that workers stop between two bursts, and takes all lanes'
 * locks. A worker has something for Python (events, handshakes, rare packets): it leaves it in its
 * lane and writes to the eventfd that Python's loop reads.
 */
#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "stream.h"
#include "worker.h"

#define READY_AT_ONCE 64

/* What epoll tells of a descriptor: a socket's family, or FIRST_PORT plus a port. */
enum { WAKE, SOCKET4, SOCKET6, FIRST_PORT = 16 };

uint64_t clock_read(int clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

/* --- lanes ------------------------------------------------------------------------------------- */

static struct worker *worker_new(void)
{
    struct worker *worker = calloc(1, sizeof *worker);
    if (!worker)
        return NULL;
    worker->rx = malloc((size_t)RX_MESSAGES * RX_ROOM);
    worker->tap = malloc(VNET_HEADER_LENGTH + MAX_FRAME);
    worker->epoll = epoll_create1(EPOLL_CLOEXEC);
    worker->rx_batch = 1;
    return worker;
}

static void worker_free(struct worker *worker)
{
    if (!worker)
        return;
    if (worker->epoll >= 0)
        close(worker->epoll);
    free(worker->rx);
    free(worker->tap);
    free(worker);
}

struct lane *lane_new(struct wgvx *dp, uint32_t number, const char *aead)
{
    struct lane *lane = calloc(1, sizeof *lane);
    if (!lane)
        return NULL;
    lane->dp = dp;
    lane->number = number;
    lane->sockets[0] = lane->sockets[1] = -1;
    pthread_mutex_init(&lane->lock, NULL);
    lane->macs = macs_new();
    lane->scratch = malloc(MAX_FRAME);
    lane->joined = malloc(sizeof *lane->joined);
    lane->sender = malloc(sizeof *lane->sender);
    lane->worker = number ? worker_new() : NULL;
    bool ready = lane->macs && lane->scratch && lane->joined && lane->sender &&
                 aead_start(&lane->aead, aead);
    if (number)
        ready = ready && lane->worker && lane->worker->rx && lane->worker->tap &&
                lane->worker->epoll >= 0;
    if (!ready || !capture_begin(lane)) {
        lane_free(lane);
        return NULL;
    }
    return lane;
}

void lane_free(struct lane *lane)
{
    if (!lane)
        return;
    for (uint32_t i = 0; i < lane->rare.count; i++)
        free(lane->rare.items[i].data);
    for (uint32_t i = 0; i < lane->watched.count; i++)
        free(lane->watched.items[i].data);
    for (uint32_t i = 0; i < lane->kept.count; i++)
        free(lane->kept.items[i]);
    if (lane->aead.library)
        aead_stop(&lane->aead);
    capture_end(lane);
    macs_free(lane->macs);
    worker_free(lane->worker);
    free(lane->scratch);
    free(lane->joined);
    free(lane->sender);
    free(lane->arena);
    free(lane->messages.items);
    free(lane->runs.items);
    free(lane->frames.items);
    free(lane->kept.items);
    free(lane->asking.items);
    free(lane->handshakes.items);
    free(lane->rare.items);
    free(lane->watched.items);
    pthread_mutex_destroy(&lane->lock);
    free(lane);
}

void lane_forget_peer(struct lane *lane, const struct peer *peer)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < lane->asking.count; i++)
        if (lane->asking.items[i] != peer)
            lane->asking.items[kept++] = lane->asking.items[i];
    lane->asking.count = kept;
    for (uint32_t i = 0; i < lane->runs.count; i++)
        if (lane->runs.items[i].peer == peer) {
            lane->runs.items[i].peer = NULL;
            lane->runs.items[i].closed = true;
        }
}

static struct lane *lane_of(struct wgvx *dp, uint32_t number)
{
    if (number < 1 || number > MAX_WORKERS)
        return NULL;
    if (!dp->lanes[number])
        dp->lanes[number] = lane_new(dp, number, dp->aead_name);
    return dp->lanes[number];
}

/* --- locks ------------------------------------------------------------------------------------- */

void lock_all(struct wgvx *dp)
{
    if (!dp->workers)
        return;
    pthread_mutex_lock(&dp->gate);
    __atomic_store_n(&dp->waiting, 1, __ATOMIC_RELEASE);
    for (uint32_t number = 1; number <= dp->workers; number++)
        pthread_mutex_lock(&dp->lanes[number]->lock);
}

void unlock_all(struct wgvx *dp)
{
    if (!dp->workers)
        return;
    __atomic_store_n(&dp->waiting, 0, __ATOMIC_RELEASE);
    for (uint32_t number = 1; number <= dp->workers; number++)
        pthread_mutex_unlock(&dp->lanes[number]->lock);
    pthread_mutex_unlock(&dp->gate);
}

static void lock_lane(struct lane *lane)
{
    struct wgvx *dp = lane->dp;
    /* A mutex is not fair: without the gate, a busy worker would take it again and again. */
    if (__atomic_load_n(&dp->waiting, __ATOMIC_ACQUIRE)) {
        pthread_mutex_lock(&dp->gate);
        pthread_mutex_unlock(&dp->gate);
    }
    pthread_mutex_lock(&lane->lock);
}

void notify(struct wgvx *dp)
{
    uint64_t one = 1;
    ssize_t written = write(dp->notify_fd, &one, sizeof one);
    (void)written; /* Full only where it is readable already. */
}

/* --- the loop ---------------------------------------------------------------------------------- */

static void pump(struct lane *lane, uint64_t which, uint32_t events)
{
    struct wgvx *dp = lane->dp;
    if (which == SOCKET4 || which == SOCKET6) {
        if (lane->sockets[which == SOCKET6] >= 0)
            pump_socket(lane, which == SOCKET6);
        return;
    }
    struct port *port = map_get(&dp->ports, (uint32_t)(which - FIRST_PORT));
    int fd = port ? port->fds[lane->number] : -1;
    if (fd >= 0 && !pump_port(lane, port, events & EPOLLOUT))
        epoll_ctl(lane->worker->epoll, EPOLL_CTL_DEL, fd, NULL);
}

static bool has_news(const struct lane *lane)
{
    return lane->asking.count || lane->handshakes.count || lane->rare.count ||
           lane->watched.count;
}

static void *work(void *argument)
{
    struct lane *lane = argument;
    struct wgvx *dp = lane->dp;
    struct epoll_event ready[READY_AT_ONCE];
    while (!__atomic_load_n(&dp->stop, __ATOMIC_ACQUIRE)) {
        int count = epoll_wait(lane->worker->epoll, ready, READY_AT_ONCE, -1);
        if (count <= 0)
            continue;
        lock_lane(lane);
        lane->now = clock_read(CLOCK_BOOTTIME); /* goes on while the machine sleeps */
        begin_burst(lane);
        for (int i = 0; i < count; i++)
            if (ready[i].data.u64 != WAKE)
                pump(lane, ready[i].data.u64, ready[i].events);
        bool news = has_news(lane) && !lane->notified;
        lane->notified = lane->notified || news;
        pthread_mutex_unlock(&lane->lock);
        if (news)
            notify(dp);
    }
    return NULL;
}

/* --- as Python sees it --------------------------------------------------------------------------- */

static bool watch(struct lane *lane, int fd, uint64_t which)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = which};
    return epoll_ctl(lane->worker->epoll, EPOLL_CTL_ADD, fd, &event) == 0 || errno == EEXIST;
}

bool wgvx_set_socket(wgvx *dp, uint32_t worker, uint8_t address_length, int fd)
{
    unsigned family = address_length == 16;
    lock_all(dp);
    struct lane *lane = lane_of(dp, worker);
    bool ok = lane;
    if (lane) {
        if (lane->sockets[family] >= 0)
            epoll_ctl(lane->worker->epoll, EPOLL_CTL_DEL, lane->sockets[family], NULL);
        lane->sockets[family] = fd;
        if (worker == 1)
            dp->python->sockets[family] = fd;
        int on = 1; /* When a datagram arrived tells how long it waited for us. */
        if (fd >= 0)
            setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
        ok = fd < 0 || watch(lane, fd, family ? SOCKET6 : SOCKET4);
    }
    unlock_all(dp);
    return ok;
}

void watch_port(struct wgvx *dp, struct port *port, bool room)
{
    struct epoll_event event = {.events = EPOLLIN | (room ? EPOLLOUT : 0),
                                .data.u64 = FIRST_PORT + (uint64_t)port->id};
    epoll_ctl(dp->lanes[port->reader]->worker->epoll, EPOLL_CTL_MOD, port->fds[port->reader],
              &event);
}

static bool is_packet_socket(int fd)
{
    int type = 0;
    socklen_t size = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

/* A descriptor that several workers write to is read by the first: an inner flow stays on one. */
static bool attach(struct lane *lane, struct port *port, int fd)
{
    uint32_t worker = lane->number;
    port->fds[worker] = fd;
    for (uint32_t other = 1; other < worker; other++)
        if (port->fds[other] == fd)
            return true;
    if (!port->reader)
        port->reader = worker;
    return watch(lane, fd, FIRST_PORT + (uint64_t)port->id);
}

bool wgvx_set_port(wgvx *dp, uint32_t worker, uint32_t port_id, int fd, int framing, bool tso,
                   bool uso)
{
    lock_all(dp);
    struct lane *lane = lane_of(dp, worker);
    struct port *port = map_get(&dp->ports, port_id);
    bool ok = lane && port;
    if (ok && framing == WGVX_STREAM && !port->stream)
        ok = (port->stream = stream_new());
    if (ok) {
        port->framing = (uint8_t)framing;
        port->tso = tso;
        port->uso = uso;
        port->ends = is_packet_socket(fd);
        ok = attach(lane, port, fd);
    }
    unlock_all(dp);
    return ok;
}

void wgvx_unset_port(wgvx *dp, uint32_t port_id)
{
    lock_all(dp);
    struct port *port = map_get(&dp->ports, port_id);
    for (uint32_t worker = 1; port && worker <= MAX_WORKERS; worker++) {
        if (port->fds[worker] >= 0)
            epoll_ctl(dp->lanes[worker]->worker->epoll, EPOLL_CTL_DEL, port->fds[worker], NULL);
        port->fds[worker] = -1;
    }
    if (port) {
        port->reader = 0;
        port->gone_errno = 0;
        port->gone_told = false;
        if (port->stream)
            stream_reset(port->stream);
    }
    unlock_all(dp);
}

bool wgvx_take_gone_port(wgvx *dp, uint32_t *id, int *code)
{
    struct port *port;
    for (uint32_t i = 0; (port = map_each(&dp->ports, &i));) {
        int why = __atomic_load_n(&port->gone_errno, __ATOMIC_ACQUIRE);
        if (!why || port->gone_told)
            continue;
        port->gone_told = true;
        *id = port->id;
        *code = why;
        return true;
    }
    return false;
}

void wgvx_set_gso(wgvx *dp, uint32_t segments)
{
    dp->gso_segments = segments < COALESCE_MAX_FRAMES ? segments : COALESCE_MAX_FRAMES;
    dp->gso = segments > 1;
}

bool wgvx_start(wgvx *dp, uint32_t workers)
{
    sigset_t all, before;
    if (dp->workers || workers < 1 || workers > MAX_WORKERS)
        return false;
    for (uint32_t number = 1; number <= workers; number++) {
        struct lane *lane = lane_of(dp, number);
        if (!lane || !watch(lane, dp->wake_fd, WAKE))
            return false;
        lane->fused = true;
    }
    dp->stop = 0;
    dp->workers = workers;
    dp->python->fused = true;
    /* Signals are the main thread's. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool ok = true;
    for (uint32_t number = 1; ok && number <= workers; number++) {
        struct worker *worker = dp->lanes[number]->worker;
        ok = pthread_create(&worker->thread, NULL, work, dp->lanes[number]) == 0;
        worker->running = ok;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!ok)
        wgvx_stop(dp);
    return ok;
}

void wgvx_stop(wgvx *dp)
{
    uint64_t one = 1;
    if (!dp->workers)
        return;
    __atomic_store_n(&dp->stop, 1, __ATOMIC_RELEASE);
    ssize_t written = write(dp->wake_fd, &one, sizeof one);
    (void)written;
    for (uint32_t number = 1; number <= dp->workers; number++) {
        struct worker *worker = dp->lanes[number]->worker;
        if (worker->running)
            pthread_join(worker->thread, NULL);
        worker->running = false;
    }
    ssize_t drained = read(dp->wake_fd, &one, sizeof one);
    (void)drained;
    dp->workers = 0;
    dp->python->fused = false;
}

int wgvx_notify_fd(const wgvx *dp)
{
    return dp->notify_fd;
}

bool wgvx_gso_works(wgvx *dp)
{
    return PEEK(dp->gso);
}
