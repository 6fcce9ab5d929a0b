/*
 * A resident program that runs commands for the host, with their output while they run.
 *
 *   slipway-runner                 on the virtio-serial channel org.slipway.run.0; waits for ever where there is none
 *   slipway-runner --listen PATH   on a UNIX socket, one client at a time: for tests, anywhere
 *
 * The protocol stands in wire.h. Any number of streams share the channel, and each has a window of its own: what the host
 * has not taken yet waits here, WINDOW_BYTES at most, and a command that writes more waits, too. So one that floods takes
 * nothing from the others but its turn, and a host that has gone away can come back, attach to the runs, and has missed
 * nothing. Another session in HELLO (a clone of this machine has another than its template) ends all runs instead.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../common/port.h"
#include "listen.h"
#include "runs.h"

#define PORT_NAME "org.slipway.run.0"
#define ECHO_BYTES 64
#define FRAMES_A_TURN 8
#define REASON_BYTES 120

static int port = -1, listener = -1, signals = -1;
static bool connected, in_step, held_up, owes_hello, owes_echo, owes_reason;
static uint8_t incoming[2 * (HEADER_BYTES + FROM_HOST_BYTES)], outgoing[HEADER_BYTES + TO_HOST_BYTES];
static size_t incoming_length, outgoing_length, outgoing_sent;
static uint8_t session[ID_BYTES], nonce[ID_BYTES], echo[ECHO_BYTES], refused_run[ID_BYTES];
static char reason[REASON_BYTES];
static size_t echo_length;

/* The host has gone. What was under way is lost; it says what it has when it comes back. */
static void disconnect(void)
{
    connected = in_step = owes_hello = owes_echo = owes_reason = false;
    incoming_length = outgoing_length = outgoing_sent = 0;
    detach_all_runs();
    if (listener >= 0) {
        close(port);
        port = -1;
    }
}

static void greet(const struct frame *frame)
{
    const uint8_t *word = frame->payload + ID_BYTES;

    if (memcmp(session, word, ID_BYTES))
        forget_all_runs();
    memcpy(session, word, ID_BYTES);
    memcpy(nonce, word + ID_BYTES, ID_BYTES);
    detach_all_runs();
    owes_echo = owes_reason = false;
    owes_hello = in_step = true;
}

static bool is_hello(const struct frame *frame)
{
    return frame->type == HELLO && frame->length == HELLO_BYTES && !memcmp(frame->payload, MAGIC, ID_BYTES);
}

/* Out of step, a length of something else must not make us wait for more than a HELLO has. */
static bool may_be_hello(const uint8_t *bytes, size_t length)
{
    return *bytes == HELLO && (length < 4 || get_number(bytes + 2, 2) == HELLO_BYTES);
}

static void obey(const struct frame *frame)
{
    const char *problem;

    if (frame->type == PING) {
        echo_length = frame->length < ECHO_BYTES ? frame->length : ECHO_BYTES;
        memcpy(echo, frame->payload, echo_length);
        owes_echo = true;
        return;
    }
    problem = obey_for_run(frame);
    if (!problem)
        return;
    snprintf(reason, sizeof reason, "%s", problem);
    memcpy(refused_run, frame->run, ID_BYTES);
    owes_reason = true;
}

/* Takes every whole frame; out of step, skips up to the next HELLO. A refusal that is not sent yet holds the rest up. */
static void obey_all(void)
{
    size_t at = 0;

    while (at < incoming_length && !owes_reason) {
        struct frame frame;
        enum verdict verdict;

        if (in_step ? !incoming[at] : !may_be_hello(incoming + at, incoming_length - at)) {
            at++;
            continue;
        }
        verdict = take_frame(incoming + at, incoming_length - at, &frame);
        if (verdict == INCOMPLETE)
            break;
        if (verdict == FRAME && is_hello(&frame))
            greet(&frame);
        else if (verdict == FRAME && in_step && frame.type != HELLO)
            obey(&frame);
        else
            in_step = false;
        at += verdict == FRAME ? HEADER_BYTES + (size_t)frame.length : 1;
    }
    held_up = owes_reason && at < incoming_length;
    incoming_length -= at;
    memmove(incoming, incoming + at, incoming_length);
}

static bool compose(void)
{
    uint8_t *payload = outgoing + HEADER_BYTES;
    struct frame frame = {.payload = payload};

    if (owes_hello) {
        owes_hello = false;
        frame.type = HELLO;
        memcpy(payload, MAGIC, ID_BYTES);
        memcpy(payload + ID_BYTES, nonce, ID_BYTES);
        frame.length = (uint16_t)(2 * ID_BYTES + list_runs(payload + 2 * ID_BYTES));
    } else if (owes_echo) {
        owes_echo = false;
        frame.type = PING;
        memcpy(payload, echo, echo_length);
        frame.length = (uint16_t)echo_length;
    } else if (owes_reason) {
        owes_reason = false;
        frame.type = REFUSED;
        memcpy(frame.run, refused_run, ID_BYTES);
        frame.length = (uint16_t)strlen(reason);
        memcpy(payload, reason, frame.length);
    } else if (!next_frame(&frame, payload))
        return false;
    outgoing_length = put_frame(outgoing, &frame);
    outgoing_sent = 0;
    return true;
}

/* A few frames, as long as the host takes them. */
static void talk(void)
{
    for (int frames = 0; connected && in_step && frames < FRAMES_A_TURN; frames++) {
        ssize_t count;

        if (outgoing_sent == outgoing_length && !compose())
            return;
        count = write(port, outgoing + outgoing_sent, outgoing_length - outgoing_sent);
        if (count < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (count <= 0) {
            disconnect();
            return;
        }
        outgoing_sent += (size_t)count;
    }
}

static void listen_to_host(short events)
{
    ssize_t count = -1;

    errno = EAGAIN;
    if (events & POLLIN)
        count = read(port, incoming + incoming_length, sizeof incoming - incoming_length);
    if (count > 0) {
        incoming_length += (size_t)count;
        return;
    }
    if (listener < 0) {
        /*
         * Without a host, or before the driver's control queue has told it of one: what a host says first comes by another
         * queue, and may be here already. So nothing is thrown away; whoever comes begins with a HELLO that does that.
         */
        if (events & (POLLHUP | POLLERR))
            connected = false;
    } else if (events & (POLLHUP | POLLERR) || !count || (errno != EAGAIN && errno != EINTR))
        disconnect();
}

/* SIGCHLD: a command has ended. SIGIO: the host has come, or gone, or sent something; the poll tells which. */
static void hear_signals(void)
{
    struct signalfd_siginfo signal;

    while (read(signals, &signal, sizeof signal) == sizeof signal)
        if (listener < 0 && signal.ssi_signo == SIGIO)
            connected = true;
    reap();
}

static void accept_host(void)
{
    port = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    connected = port >= 0;
}

/*
 * While no host is connected the channel reads as ended and polls as hung up, so it is not polled then: the driver's SIGIO
 * tells of the connection. It is blocked and comes through a descriptor, so one between two polls is kept.
 */
static void serve(void)
{
    struct pollfd polled[2 + POLLED];

    for (;;) {
        bool something = outgoing_sent < outgoing_length || owes_hello || owes_echo || owes_reason || anything_to_send();
        nfds_t count = 2;

        polled[0] = (struct pollfd){signals, POLLIN, 0};
        polled[1] = (struct pollfd){connected ? port : listener, POLLIN, 0};
        if (connected && incoming_length == sizeof incoming)
            polled[1].events = 0;
        if (connected && in_step && something)
            polled[1].events |= POLLOUT;
        count += pipes_to_poll(polled + 2);
        if (poll(polled, count, held_up && !owes_reason ? 0 : -1) < 0)
            continue;
        for (nfds_t i = 2; i < count; i++)
            if (polled[i].revents)
                serve_pipe(&polled[i]);
        if (polled[1].revents && connected)
            listen_to_host(polled[1].revents);
        else if (polled[1].revents)
            accept_host();
        if (polled[0].revents)
            hear_signals(); /* last: a host that has come since the poll must not be taken for gone by what that saw */
        if (connected)
            obey_all();
        talk();
    }
}

static int set_up(int arguments, char **words)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (arguments == 3 && !strcmp(words[1], "--listen")) {
        listener = listen_on(words[2]);
        return listener;
    }
    port = wait_for_port(PORT_NAME, O_NONBLOCK);
    while (port < 0)
        pause(); /* this machine has no such channel */
    connected = true; /* the first poll tells */
    if (fcntl(port, F_SETOWN, getpid()) || fcntl(port, F_SETFL, O_ASYNC | O_NONBLOCK)) {
        perror(PORT_NAME);
        return -1;
    }
    return 0;
}

int main(int arguments, char **words)
{
    int spare = open("/dev/null", O_RDWR | O_CLOEXEC);

    while (spare >= 0 && spare <= STDERR_FILENO) /* so that no pipe ever has one of these numbers */
        spare = open("/dev/null", O_RDWR | O_CLOEXEC);
    close(spare);
    if (set_up(arguments, words) < 0)
        return 1;
    serve();
}
