/* The underlay: datagrams received by recvmmsg with UDP_GRO, sent by sendmmsg with UDP_SEGMENT.
 *
 * A refusal is answered where it belongs: EMSGSIZE to one peer's path, EIO and EOPNOTSUPP to the
 * whole node, a local address that is gone to the one send. What could not go in one piece goes as
 * single datagrams; what then is refused is counted.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <time.h>

#include "ip.h"
#include "worker.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

#define GSO_PAUSE (600 * SECOND)
/* How much one turn takes from a socket before the others have theirs. */
#define TURN_BYTES (512u << 10)
#define TURN_CALLS 16
/* As much as one call is to bring, going by what the last one brought. */
#define CALL_BYTES (60u << 10)
/* How long a datagram may wait in the receive buffer, and for how long it may be longer, before one
 * goes for it. Measured with one TCP stream over two cores, in ms that a ping takes and Gbit/s:
 * 500 us and 10 ms 1 to 3 and 5.4 to 6.5; 300 us and 5 ms 0.7 and 5.4; 250 us and 2 ms 0.4 and 5.5. */
#define CODEL_TARGET (200 * 1000)
#define CODEL_INTERVAL (2 * 1000 * 1000)
/* Smaller ones are pings, acknowledgements, handshakes: they did not make the queue. */
#define CODEL_SMALLEST 1024u

/* --- receiving --------------------------------------------------------------------------------- */

static void read_source(const struct sockaddr_storage *source, wgvx_endpoint *endpoint)
{
    memset(endpoint, 0, sizeof *endpoint);
    if (source->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)source;
        endpoint->ip_length = 4;
        endpoint->port = ntohs(in->sin_port);
        memcpy(endpoint->ip, &in->sin_addr, 4);
    } else {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)source;
        endpoint->ip_length = 16;
        endpoint->port = ntohs(in6->sin6_port);
        endpoint->scope = in6->sin6_scope_id;
        memcpy(endpoint->ip, &in6->sin6_addr, 16);
    }
}

/* What the kernel says of a receive besides its bytes. */
struct told {
    uint8_t tos;
    uint32_t size;    /* of each datagram joined into it; 0: it is one */
    uint64_t arrived; /* nanoseconds of CLOCK_REALTIME; 0: not known */
};

static void read_control(struct msghdr *header, wgvx_endpoint *endpoint, struct told *told)
{
    for (struct cmsghdr *one = CMSG_FIRSTHDR(header); one; one = CMSG_NXTHDR(header, one)) {
        const uint8_t *data = CMSG_DATA(one);
        int value;
        if (one->cmsg_level == IPPROTO_IP && one->cmsg_type == IP_PKTINFO) {
            const struct in_pktinfo *info = (const struct in_pktinfo *)data;
            endpoint->local_length = 4;
            memcpy(endpoint->local, &info->ipi_spec_dst, 4);
            endpoint->interface = (uint32_t)info->ipi_ifindex;
        } else if (one->cmsg_level == IPPROTO_IPV6 && one->cmsg_type == IPV6_PKTINFO) {
            endpoint->local_length = 16;
            memcpy(endpoint->local, &((const struct in6_pktinfo *)data)->ipi6_addr, 16);
        } else if (one->cmsg_level == IPPROTO_IP && one->cmsg_type == IP_TOS) {
            told->tos = data[0];
        } else if (one->cmsg_level == IPPROTO_IPV6 && one->cmsg_type == IPV6_TCLASS) {
            memcpy(&value, data, sizeof value);
            told->tos = (uint8_t)value;
        } else if (one->cmsg_level == SOL_UDP && one->cmsg_type == UDP_GRO) {
            memcpy(&value, data, sizeof value);
            told->size = (uint32_t)value & 0xFFFF;
        } else if (one->cmsg_level == SOL_SOCKET && one->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec at;
            memcpy(&at, data, sizeof at);
            told->arrived = (uint64_t)at.tv_sec * SECOND + (uint64_t)at.tv_nsec;
        }
    }
}

static int receive_messages(struct worker *worker, int fd)
{
    for (uint32_t i = 0; i < worker->rx_batch; i++) {
        worker->rx_parts[i] = (struct iovec){worker->rx + (size_t)i * RX_ROOM, RX_ROOM};
        worker->rx_messages[i].msg_hdr = (struct msghdr){
            .msg_name = &worker->rx_sources[i],
            .msg_namelen = sizeof worker->rx_sources[i],
            .msg_iov = &worker->rx_parts[i],
            .msg_iovlen = 1,
            .msg_control = worker->rx_control[i],
            .msg_controllen = CONTROL_ROOM,
        };
    }
    return recvmmsg(fd, worker->rx_messages, worker->rx_batch, MSG_DONTWAIT, NULL);
}

/* Small datagrams many at a time; large ones one by one, each while it is in the cache. */
static void adapt(struct worker *worker, uint32_t received, uint32_t bytes)
{
    uint32_t fit = CALL_BYTES / (bytes / received + 1) + 1;
    uint32_t most = worker->rx_batch * 2 < RX_MESSAGES ? worker->rx_batch * 2 : RX_MESSAGES;
    worker->rx_batch = fit < most ? fit : most;
}

/* Whether a datagram has to go for its sender to slow down: the receive buffer has held a queue for
 * too long.
 *
 * RFC 8289 lets the last packet of a queue go. We cannot see how many are left, but the first of a
 * call that arrived after the call before it found the buffer empty: if it is late, it is because
 * we are, on a busy machine, and with nobody before it there is nobody to slow down. */
static bool is_congested(struct lane *lane, unsigned family, const struct told *told, bool first,
                         uint32_t length, uint64_t realtime)
{
    struct codel *queue = &lane->worker->queues[family];
    uint64_t last_read = lane->worker->last_reads[family];
    if (!told->arrived || realtime < told->arrived)
        return false;
    if (first && told->arrived > last_read) {
        if (told->arrived - last_read > CODEL_INTERVAL || realtime - told->arrived < CODEL_TARGET)
            codel_was_empty(queue);
        return false;
    }
    if (!codel_drops(queue, realtime - told->arrived, lane->now, CODEL_TARGET, CODEL_INTERVAL))
        return false;
    if ((told->size && told->size < length ? told->size : length) < CODEL_SMALLEST)
        return false;
    drop(lane, CONGESTED);
    return true;
}

/* Takes one datagram out of a receive: the last one, for what is before it stays one piece then, or
 * before a small last one, which a sender joined to others' packets, the one before it. Returns how
 * much is left. */
static uint32_t take_out(uint8_t *data, uint32_t length, uint32_t size)
{
    uint32_t last = (length - 1) % size + 1;
    if (last >= CODEL_SMALLEST || last == length)
        return length - last;
    memmove(data + length - last - size, data + length - last, last);
    return length - size;
}

static void process(struct lane *lane, unsigned family, int number, uint64_t realtime)
{
    struct worker *worker = lane->worker;
    struct mmsghdr *message = &worker->rx_messages[number];
    uint8_t *data = worker->rx_parts[number].iov_base;
    uint32_t length = message->msg_len;
    struct told told = {0};
    wgvx_endpoint endpoint;
    read_source(&worker->rx_sources[number], &endpoint);
    read_control(&message->msg_hdr, &endpoint, &told);
    uint32_t size = told.size ? told.size : length + 1;
    if (is_congested(lane, family, &told, number == 0, length, realtime)) {
        length = take_out(data, length, size);
        if (!length)
            return;
    }
    receive(lane, data, length, size, &endpoint, told.tos, lane->now);
}

void pump_socket(struct lane *lane, unsigned family)
{
    struct worker *worker = lane->worker;
    uint32_t bytes = 0;
    for (int calls = 0; calls < TURN_CALLS && bytes < TURN_BYTES; calls++) {
        uint32_t asked = worker->rx_batch;
        int received = receive_messages(worker, lane->sockets[family]);
        if (received <= 0)
            return; /* Nothing there, or an error of the network, which is not ours to raise. */
        uint32_t before = bytes;
        uint64_t realtime = clock_read(CLOCK_REALTIME);
        for (int i = 0; i < received; i++) {
            bytes += worker->rx_messages[i].msg_len;
            process(lane, family, i, realtime);
        }
        worker->last_reads[family] = realtime;
        flush(lane); /* The frames stand in the buffers that the next call fills. */
        adapt(worker, (uint32_t)received, bytes - before);
        if ((uint32_t)received < asked)
            return;
    }
}

/* --- sending ----------------------------------------------------------------------------------- */

static void *add_control(struct msghdr *header, int level, int type, size_t length)
{
    struct cmsghdr *one =
        (struct cmsghdr *)((uint8_t *)header->msg_control + header->msg_controllen);
    one->cmsg_level = level;
    one->cmsg_type = type;
    one->cmsg_len = CMSG_LEN(length);
    header->msg_controllen += CMSG_SPACE(length);
    memset(CMSG_DATA(one), 0, CMSG_SPACE(length) - CMSG_LEN(0));
    return CMSG_DATA(one);
}

static void write_target(const wgvx_endpoint *endpoint, struct sockaddr_storage *target,
                         struct msghdr *header)
{
    memset(target, 0, sizeof(struct sockaddr_in6));
    header->msg_name = target;
    if (endpoint->ip_length == 4) {
        struct sockaddr_in *in = (struct sockaddr_in *)target;
        in->sin_family = AF_INET;
        in->sin_port = htons(endpoint->port);
        memcpy(&in->sin_addr, endpoint->ip, 4);
        header->msg_namelen = sizeof *in;
    } else {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)target;
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(endpoint->port);
        in6->sin6_scope_id = endpoint->scope;
        memcpy(&in6->sin6_addr, endpoint->ip, 16);
        header->msg_namelen = sizeof *in6;
    }
}

/* Everything of a send but its bytes. */
static void write_header(struct msghdr *header, const struct run *run, uint32_t count,
                         bool with_local, struct sockaddr_storage *target, uint8_t *control)
{
    const wgvx_endpoint *endpoint = &run->endpoint;
    bool v4 = endpoint->ip_length == 4;
    header->msg_control = control;
    header->msg_controllen = 0;
    header->msg_flags = 0;
    write_target(endpoint, target, header);
    if (with_local && endpoint->local_length == 4 && v4) {
        struct in_pktinfo *info = add_control(header, IPPROTO_IP, IP_PKTINFO, sizeof *info);
        memcpy(&info->ipi_spec_dst, endpoint->local, 4);
    } else if (with_local && endpoint->local_length == 16 && !v4) {
        struct in6_pktinfo *info = add_control(header, IPPROTO_IPV6, IPV6_PKTINFO, sizeof *info);
        memcpy(&info->ipi6_addr, endpoint->local, 16);
        info->ipi6_ifindex = endpoint->scope;
    }
    if (run->tos) {
        int tos = run->tos;
        memcpy(add_control(header, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TOS : IPV6_TCLASS,
                           sizeof tos),
               &tos, sizeof tos);
    }
    if (count > 1) {
        uint16_t size = (uint16_t)run->size;
        memcpy(add_control(header, SOL_UDP, UDP_SEGMENT, sizeof size), &size, sizeof size);
    }
    if (!header->msg_controllen)
        header->msg_control = NULL;
}

/* Gathers `count` messages of a run from the one at `first`; returns the next one's position. */
static uint32_t gather(const struct lane *lane, uint32_t first, uint32_t count,
                       struct iovec *parts, uint32_t *used)
{
    uint32_t number = 0;
    while (count--) {
        const struct message *message = &lane->messages.items[first - 1];
        uint8_t *data = lane->arena + message->offset;
        struct iovec *last = number ? &parts[number - 1] : NULL;
        if (last && (uint8_t *)last->iov_base + last->iov_len == data)
            last->iov_len += message->length;
        else
            parts[number++] = (struct iovec){data, message->length};
        first = message->next;
    }
    *used = number;
    return first;
}

static void refused(struct lane *lane, int code, uint32_t count)
{
    if (lane->probing) {
        lane->refusal = code;
        return;
    }
    bool full = code == EAGAIN || code == ENOBUFS || code == ENOMEM;
    lane->drops[full ? SOCKET_FULL : UNREACHABLE] += count;
}

static int send_once(int fd, const struct msghdr *header)
{
    ssize_t sent;
    do
        sent = sendmsg(fd, header, MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? errno : 0;
}

/* "The source address is sticky", but falls over when it is no longer ours. */
static int send_without_local(struct sender *sender, int fd, struct msghdr *header, uint32_t job)
{
    const struct run *run = sender->jobs[job].run;
    write_header(header, run, sender->jobs[job].count, false, &sender->targets[job],
                 sender->control[job]);
    return send_once(fd, header);
}

static bool is_local_gone(int code)
{
    return code == EINVAL || code == EADDRNOTAVAIL || code == ENETUNREACH;
}

static void send_one_by_one(struct lane *lane, int fd, uint32_t job)
{
    struct sender *sender = lane->sender;
    const struct run *run = sender->jobs[job].run;
    uint32_t next = sender->jobs[job].first, used;
    for (uint32_t i = 0; i < sender->jobs[job].count; i++) {
        struct iovec part;
        struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
        next = gather(lane, next, 1, &part, &used);
        write_header(&header, run, 1, true, &sender->targets[job], sender->control[job]);
        int code = send_once(fd, &header);
        if (run->endpoint.local_length && is_local_gone(code)) {
            write_header(&header, run, 1, false, &sender->targets[job], sender->control[job]);
            code = send_once(fd, &header);
        }
        if (code)
            refused(lane, code, 1);
    }
}

/* What to do about a send that was refused with `code`. */
static void mend(struct lane *lane, int fd, uint32_t job, int code)
{
    struct sender *sender = lane->sender;
    struct run *run = sender->jobs[job].run;
    struct msghdr *header = &sender->messages[job].msg_hdr;
    uint32_t count = sender->jobs[job].count;
    if (run->endpoint.local_length && is_local_gone(code)) {
        code = send_without_local(sender, fd, header, job);
        if (!code)
            return;
    }
    if (count == 1) {
        refused(lane, code, 1);
        return;
    }
    if (code == EIO || code == EOPNOTSUPP) {
        POKE(lane->dp->gso, false); /* Not here, however often we ask. */
        notify(lane->dp);
    } else if (code == EMSGSIZE || code == EINVAL) {
        if (run->peer)
            POKE(run->peer->gso_off_until, lane->now + GSO_PAUSE);
    } else {
        refused(lane, code, count);
        return;
    }
    send_one_by_one(lane, fd, job);
}

static void send_jobs(struct lane *lane, int fd, uint32_t jobs)
{
    struct sender *sender = lane->sender;
    for (uint32_t done = 0; done < jobs;) {
        int sent = fd < 0 ? -1 : sendmmsg(fd, sender->messages + done, jobs - done, MSG_DONTWAIT);
        if (sent > 0) {
            done += (uint32_t)sent;
        } else if (fd < 0) {
            refused(lane, EAFNOSUPPORT, sender->jobs[done].count);
            done++;
        } else if (errno != EINTR) {
            mend(lane, fd, done, errno);
            done++;
        }
    }
}

static bool may_segment(const struct lane *lane, const struct run *run)
{
    return PEEK(lane->dp->gso) && (!run->peer || lane->now >= PEEK(run->peer->gso_off_until));
}

void flush_messages(struct lane *lane)
{
    struct sender *sender = lane->sender;
    uint32_t jobs = 0, parts = 0;
    int fd = -1;
    for (uint32_t i = 0; i < lane->runs.count; i++) {
        struct run *run = &lane->runs.items[i];
        uint32_t next = run->first, left = run->count;
        uint32_t each = may_segment(lane, run) ? left : 1;
        int wanted = lane->sockets[run->endpoint.ip_length == 16];
        while (left) {
            if (jobs == TX_SENDS || parts + each > TX_PARTS || (jobs && wanted != fd)) {
                send_jobs(lane, fd, jobs);
                jobs = parts = 0;
            }
            fd = wanted;
            struct msghdr *header = &sender->messages[jobs].msg_hdr;
            uint32_t used;
            sender->jobs[jobs].run = run;
            sender->jobs[jobs].first = next;
            sender->jobs[jobs].count = each;
            header->msg_iov = sender->parts + parts;
            next = gather(lane, next, each, header->msg_iov, &used);
            header->msg_iovlen = used;
            write_header(header, run, each, true, &sender->targets[jobs], sender->control[jobs]);
            parts += used;
            left -= each;
            jobs++;
        }
    }
    if (jobs)
        send_jobs(lane, fd, jobs);
    clear_messages(lane);
}

int flush_probe(struct lane *lane, bool v6)
{
    /* As it usually is: see UdpSocket._set_options. A confined node may set it, but not ask. */
    int usual = v6 ? IPV6_PMTUDISC_DONT : IP_PMTUDISC_OMIT;
    int whole = v6 ? IPV6_PMTUDISC_PROBE : IP_PMTUDISC_PROBE;
    int level = v6 ? IPPROTO_IPV6 : IPPROTO_IP, option = v6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER;
    int fd = lane->sockets[v6];
    lane->probing = true;
    lane->refusal = 0;
    if (setsockopt(fd, level, option, &whole, sizeof whole)) {
        lane->refusal = errno;
        clear_messages(lane);
    } else {
        flush_messages(lane);
        setsockopt(fd, level, option, &usual, sizeof usual);
    }
    lane->probing = false;
    return lane->refusal;
}
