/* The first process of the guest: runs the commands that the host sends over a virtio-serial port.
 *
 * Many at a time: each has the number that the host gave it, and everything said of it carries that
 * number. A message is a header and `size` bytes, both ways; channel.py is the other end. The guest
 * powers off when the host closes the port, so it cannot outlive whoever started it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Of all virtio devices it is the first. */
#define PORT "/dev/vport0p1"
#define MAX_JOBS 256
#define MAX_MESSAGE (256u << 20)
/* What a pipe holds: one read of so much takes all that a command left in it. */
#define CHUNK 65536
#define HOST_TIMEOUT 60 /* seconds */
#define NO_SUCH_COMMAND 127

/* Host to guest. */
#define SET_CLOCK 'C' /* int64: nanoseconds since 1970; echoed */
#define RUN 'R'       /* struct run, then strings, then the command's standard input */
#define SIGNAL 'S'    /* int32: its number, for the command alone */
#define ABANDON 'A'   /* kill the command and what it started */
/* Guest to host. */
#define OUTPUT 'O'
#define ERRORS 'E'
#define EXITED 'X' /* int32: exit status, or -N where signal N ended it */
#define DONE 'D'   /* it has ended and both outputs are closed: the number is free */

struct header {
    uint32_t size, job;
    uint8_t kind;
} __attribute__((packed));

struct run {
    uint32_t arguments, variables; /* how many strings of either; before them one more, the folder */
    uint8_t has_stdin;
} __attribute__((packed));

struct job {
    uint32_t number;
    pid_t pid; /* 0: no such job */
    bool exited;
    int pipe[2]; /* where its two outputs are read; -1: closed */
};

static const uint8_t output_kind[2] = {OUTPUT, ERRORS};
static struct job jobs[MAX_JOBS];
static int port;

/* The kernel prints it on its console, which the host keeps. */
static void die(const char *what)
{
    fprintf(stderr, "agent: %s: %s\n", what, strerror(errno));
    exit(1); /* of the first process: the kernel panics, QEMU ends */
}

static void power_off(void)
{
    reboot(RB_POWER_OFF);
    die("power off");
}

/* Waits until the port can be read or written. */
static void await_port(short events)
{
    struct pollfd fd = {port, events, 0};
    if (poll(&fd, 1, -1) < 0 && errno != EINTR)
        die("poll");
    if (fd.revents & POLLHUP)
        power_off();
}

/* The port comes into being some time after its driver, and is closed until the host opens it. */
static void open_port(void)
{
    const struct timespec pause = {0, 10000000};
    struct pollfd fd = {-1, POLLIN, 0};
    for (time_t end = time(NULL) + HOST_TIMEOUT; !(fd.revents & POLLIN); nanosleep(&pause, NULL)) {
        if (fd.fd < 0)
            fd.fd = open(PORT, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (poll(&fd, 1, 0) < 0 || time(NULL) > end)
            die("the host does not open " PORT);
    }
    port = fd.fd;
}

static void write_port(const void *data, size_t size)
{
    const char *next = data;
    while (size > 0) {
        ssize_t count = write(port, next, size);
        if (count >= 0) {
            next += count;
            size -= (size_t)count;
        } else if (errno == EAGAIN) {
            await_port(POLLOUT);
        } else if (errno != EINTR) {
            die("write " PORT);
        }
    }
}

static void send_message(uint8_t kind, uint32_t job, const void *data, size_t size)
{
    static char message[sizeof(struct header) + CHUNK];
    struct header header = {(uint32_t)size, job, kind};
    memcpy(message, &header, sizeof header);
    if (size > 0)
        memcpy(message + sizeof header, data, size);
    write_port(message, sizeof header + size);
}

static struct job *find_job(uint32_t number)
{
    for (struct job *job = jobs; job < jobs + MAX_JOBS; job++)
        if (job->pid != 0 && job->number == number)
            return job;
    return NULL;
}

static void close_output(struct job *job, int which)
{
    if (job->pipe[which] >= 0)
        close(job->pipe[which]);
    job->pipe[which] = -1;
}

static void end_if_done(struct job *job)
{
    if (!job->exited || job->pipe[0] >= 0 || job->pipe[1] >= 0)
        return;
    job->pid = 0;
    send_message(DONE, job->number, NULL, 0);
}

/* Passes on what the command has written. */
static void forward(struct job *job, int which)
{
    static char data[CHUNK];
    if (job->pipe[which] < 0)
        return;
    ssize_t count = read(job->pipe[which], data, sizeof data);
    if (count > 0)
        send_message(output_kind[which], job->number, data, (size_t)count);
    else if (count == 0 || (errno != EAGAIN && errno != EINTR))
        close_output(job, which);
}

/* Takes the status of every process that has ended; orphans come to the first process, too. */
static void reap(void)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (struct job *job = jobs; job < jobs + MAX_JOBS; job++) {
            if (job->pid != pid || job->exited)
                continue;
            job->exited = true;
            /* Whoever learns of the end already has all that the command wrote. */
            forward(job, 0);
            forward(job, 1);
            int32_t code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
            send_message(EXITED, job->number, &code, sizeof code);
            end_if_done(job);
        }
}

/* A file that holds the command's input: it need not read it, and cannot block us. */
static int input_file(bool given, const char *data, size_t size)
{
    if (!given)
        return open("/dev/null", O_RDONLY | O_CLOEXEC);
    int file = memfd_create("stdin", MFD_CLOEXEC);
    while (file >= 0 && size > 0) {
        ssize_t count = write(file, data, size);
        if (count <= 0)
            die("keep standard input");
        data += count;
        size -= (size_t)count;
    }
    lseek(file, 0, SEEK_SET);
    return file;
}

static void become(char **strings, char **variables, int input, int output, int errors)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid(); /* a group of its own, to be killed with all that it starts */
    dup2(input, 0);
    dup2(output, 1);
    dup2(errors, 2);
    clearenv();
    for (; *variables != NULL; variables++)
        putenv(*variables);
    if (chdir(strings[0]) != 0)
        dprintf(2, "%s: %s\n", strings[0], strerror(errno));
    else if (execvp(strings[1], strings + 1) != 0)
        dprintf(2, "%s: %s\n", strings[1], strerror(errno));
    _exit(NO_SUCH_COMMAND);
}

static void run(uint32_t number, char *data, size_t size)
{
    struct run *run = (struct run *)data;
    char *next = data + sizeof *run, *end = data + size;
    /* The folder and the arguments, NULL, the variables, NULL. */
    size_t count = 1 + run->arguments + run->variables;
    char **strings = calloc(count + 2, sizeof *strings);
    char **variables = strings + 1 + run->arguments + 1;
    if (strings == NULL)
        die("calloc");
    for (size_t i = 0; i < count && next < end; i++) {
        strings[i <= run->arguments ? i : i + 1] = next;
        next += strlen(next) + 1;
    }
    struct job *job = jobs;
    while (job < jobs + MAX_JOBS && job->pid != 0)
        job++;
    int input = input_file(run->has_stdin, next, (size_t)(end - next)), pipes[2][2];
    if (job == jobs + MAX_JOBS || input < 0 || pipe2(pipes[0], O_CLOEXEC | O_NONBLOCK) != 0 ||
        pipe2(pipes[1], O_CLOEXEC | O_NONBLOCK) != 0)
        die("too much at a time");
    for (int which = 0; which < 2; which++) { /* non-blocking for us alone */
        fcntl(pipes[which][1], F_SETFL, 0);
        job->pipe[which] = pipes[which][0];
    }
    job->number = number;
    job->exited = false;
    job->pid = fork();
    if (job->pid < 0)
        die("fork");
    if (job->pid == 0)
        become(strings, variables, input, pipes[0][1], pipes[1][1]);
    close(input);
    close(pipes[0][1]);
    close(pipes[1][1]);
    free(strings);
}

static void abandon(struct job *job)
{
    if (!job->exited) /* it may not have its group yet */
        kill(job->pid, SIGKILL);
    kill(-job->pid, SIGKILL);
    close_output(job, 0);
    close_output(job, 1);
    end_if_done(job);
}

static void set_clock(const int64_t *now)
{
    struct timespec time = {*now / 1000000000, *now % 1000000000};
    clock_settime(CLOCK_REALTIME, &time);
}

static void handle(const struct header *header, char *data)
{
    struct job *job = find_job(header->job);
    if (header->kind == SET_CLOCK) {
        set_clock((int64_t *)data);
        send_message(SET_CLOCK, header->job, NULL, 0);
    } else if (header->kind == RUN) {
        run(header->job, data, header->size);
    } else if (job != NULL && header->kind == SIGNAL && !job->exited) {
        kill(job->pid, *(int32_t *)data);
    } else if (job != NULL && header->kind == ABANDON) {
        abandon(job);
    }
}

static void read_port(void *data, size_t size)
{
    char *next = data;
    while (size > 0) {
        ssize_t count = read(port, next, size);
        if (count > 0) {
            next += count;
            size -= (size_t)count;
        } else if (count < 0 && errno == EAGAIN) {
            await_port(POLLIN);
        } else if (count == 0 || errno != EINTR) {
            power_off();
        }
    }
}

static void handle_next(void)
{
    struct header header;
    read_port(&header, sizeof header);
    char *data = malloc((size_t)header.size + 1);
    if (header.size > MAX_MESSAGE || data == NULL)
        die("a message that is too long");
    read_port(data, header.size);
    data[header.size] = 0; /* strings end, whatever was sent */
    handle(&header, data);
    free(data);
}

static void serve(int children)
{
    for (;;) {
        struct pollfd fds[2 + 2 * MAX_JOBS] = {{port, POLLIN, 0}, {children, POLLIN, 0}};
        for (int i = 0; i < 2 * MAX_JOBS; i++) {
            const struct job *job = &jobs[i / 2];
            fds[2 + i] = (struct pollfd){job->pid == 0 ? -1 : job->pipe[i % 2], POLLIN, 0};
        }
        if (poll(fds, 2 + 2 * MAX_JOBS, -1) < 0 && errno != EINTR)
            die("poll");
        for (int i = 0; i < 2 * MAX_JOBS; i++) {
            struct job *job = &jobs[i / 2];
            if (fds[2 + i].revents == 0)
                continue;
            forward(job, i % 2);
            end_if_done(job);
        }
        struct signalfd_siginfo info;
        if (fds[1].revents && read(children, &info, sizeof info) > 0)
            reap();
        if (fds[0].revents & POLLIN)
            handle_next();
        else if (fds[0].revents & POLLHUP)
            power_off();
    }
}

int main(void)
{
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    int children = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (children < 0)
        die("signalfd");
    open_port();
    serve(children);
}
