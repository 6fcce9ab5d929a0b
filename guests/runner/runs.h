#ifndef SLIPWAY_RUNS_H
#define SLIPWAY_RUNS_H

#include <poll.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "wire.h"

/* What a run may hold: its memory is bounded whatever the host and the command do. */
#define RUNS 64
#define SPEC_BYTES 65536
#define WINDOW_BYTES 65536
#define POLLED (3 * RUNS)

/* Bytes that wait, in a ring: [base, end) of the stream, of which what comes before `sent` is under way. */
struct ring {
    uint64_t base, sent, end;
    uint8_t *bytes;
};

enum run_state { UNUSED, COLLECTING, RUNNING, EXITED_RUN };

struct run {
    enum run_state state;
    uint8_t id[ID_BYTES];
    char *spec;
    size_t spec_length;
    pid_t pid;
    int input_fd, output_fd[2];
    struct ring input, output[2];
    uint64_t wanted; /* the last offset of WANTED */
    size_t left[2];  /* of each output, once the command has ended: what is still to be read */
    int turn;        /* whose output goes first */
    bool input_ended, attached, owes_state, owes_exit;
    int status;
    struct rusage usage;
};

extern struct run runs[RUNS];

/* Kills and drops all of them. */
void forget_all_runs(void);

/* Obeys a frame that is about a run; why not, or NULL. */
const char *obey_for_run(const struct frame *frame);

/* Collects the exit status of each child that has ended. */
void reap(void);

/* The pipes that something can be done with now, into `polled` (POLLED of them at most); how many. */
nfds_t pipes_to_poll(struct pollfd *polled);
/* Moves what can be moved through the pipe of that poll entry. */
void serve_pipe(const struct pollfd *entry);

void close_pipe(int *fd);

/* The next frame that a run has for the host, its payload in `payload` (TO_HOST_BYTES); runs take turns. */
bool next_frame(struct frame *frame, uint8_t *payload);
bool anything_to_send(void);
/* From now on no run sends anything until it is attached again. */
void detach_all_runs(void);
/* The ids of all runs, into `out`; how many bytes. */
size_t list_runs(uint8_t *out);

#endif
