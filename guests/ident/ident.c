/*
 * A resident listener that gives a running machine a new identity when the host asks for it.
 *
 * A clone of a running machine wakes up with its template's random numbers, MAC, address, name and clock. This program
 * sleeps on a virtio-serial channel and takes one request from the host: lines `key=value`, in this order of need.
 *
 *   seed=HEX                      64 to 512 random bytes, credited to the kernel, whose generator is then reseeded
 *   forget_keys=WORD              removes all SSH host keys
 *   ssh_key=TYPE HEX HEX          private and public part of /etc/ssh/ssh_host_TYPE_key
 *   machine_id=32 HEX DIGITS
 *   hostname=NAME                 also beside 127.0.1.1 in /etc/hosts
 *   clock=SECONDS.NANOSECONDS     since 1970, UTC
 *   boot_id=UUID                  where programs read it; the kernel's own stays
 *   uuid=UUID                     of the machine, where programs read it; the firmware's tables stay until it boots
 *   net=MAC ADDRESS/BITS GATEWAY  of the first Ethernet interface (0.0.0.0: no gateway): from here on it is reachable
 *   ack=WORD                      answered with "ack WORD"
 *   end=WORD                      runs HOOK if there is one, then answered with "end WORD"
 *
 * What fails is answered with "error KEY: reason" before the next "ack" or "end". WORD is the host's own, so that an
 * answer to a request it has given up is not taken for this one's. It is one static C program, locked in memory and
 * scheduled before all others, because the machine's owner waits for it: a shell would take a second.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../common/port.h"
#include "verbs.h"

#define PORT_NAME "org.slipway.identity.0"
#define HOOK "/usr/lib/slipway/identity-changed"
#define REQUEST_BYTES 32768
#define PRIORITY 50

static char reply[4096];
static size_t reply_length;

static void say(const char *first, const char *second, const char *third)
{
    size_t room = sizeof reply - reply_length;
    int length = snprintf(reply + reply_length, room, "%s %s%s%s\n", first, second, *third ? ": " : "", third);

    if (length > 0 && (size_t)length < room)
        reply_length += (size_t)length;
}

static void send_reply(int port)
{
    size_t sent = 0;

    while (sent < reply_length) {
        ssize_t count = write(port, reply + sent, reply_length - sent);
        if (count <= 0)
            break; /* the host has gone: nobody is left to tell */
        sent += (size_t)count;
    }
    reply_length = 0;
}

static void run_hook(void)
{
    char *const arguments[] = {HOOK, NULL};
    char *const environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    pid_t child;

    if (access(HOOK, X_OK) == 0 && posix_spawn(&child, HOOK, NULL, NULL, arguments, environment) == 0)
        waitpid(child, NULL, 0);
}

static void obey(int port, char *line)
{
    char *value = strchr(line, '=');
    int problem;

    if (!value) {
        say("error", "request", "a line without a value");
        return;
    }
    *value++ = '\0';
    if (!strcmp(line, "end"))
        run_hook();
    if (!strcmp(line, "ack") || !strcmp(line, "end")) {
        say(line, value, "");
        send_reply(port);
        return;
    }
    problem = apply_verb(line, value);
    if (problem)
        say("error", line, strerror(problem));
}

/*
 * Sleeps until the host has sent something. While no host is connected the port reads as ended and polls as hung up, so
 * poll() alone would spin: the driver's SIGIO tells of the connection. It is blocked, so one that comes between the two
 * calls is kept.
 */
static ssize_t wait_and_read(int port, char *buffer, size_t room, const sigset_t *signals)
{
    for (;;) {
        struct pollfd poller = {port, POLLIN, 0};

        if (poll(&poller, 1, -1) < 0)
            continue;
        if (poller.revents & POLLIN) {
            ssize_t count = read(port, buffer, room);
            if (count > 0)
                return count;
        }
        if (poller.revents & POLLHUP) {
            sigwaitinfo(signals, NULL);
            return 0;
        }
    }
}

/* Obeys each line as soon as it is complete; a host that goes away in the middle starts from the beginning. */
static void serve(int port, const sigset_t *signals)
{
    static char request[REQUEST_BYTES];
    size_t length = 0;

    for (;;) {
        ssize_t count = wait_and_read(port, request + length, sizeof request - length, signals);
        char *line = request, *end;

        length = count > 0 ? length + (size_t)count : 0;
        while ((end = memchr(line, '\n', length - (size_t)(line - request)))) {
            *end = '\0';
            obey(port, line);
            line = end + 1;
        }
        length -= (size_t)(line - request);
        memmove(request, line, length);
        if (length == sizeof request)
            length = 0; /* no line of ours is that long */
    }
}

int main(void)
{
    struct sched_param urgent = {PRIORITY};
    sigset_t signals;
    int port = wait_for_port(PORT_NAME, 0);

    if (port < 0)
        return 0; /* this machine has no such channel */
    sigemptyset(&signals);
    sigaddset(&signals, SIGIO);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    if (fcntl(port, F_SETOWN, getpid()) || fcntl(port, F_SETFL, O_ASYNC)) {
        perror(PORT_NAME);
        return 1;
    }
    if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &urgent) || mlockall(MCL_CURRENT | MCL_FUTURE))
        perror("slipway-identity: running at ordinary priority");
    serve(port, &signals);
}
