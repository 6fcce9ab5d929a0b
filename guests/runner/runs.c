/* The runs: what each holds, and what the host may do with it. Their bytes are moved in flow.c. */
#define _GNU_SOURCE
#include "runs.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch.h"

struct run runs[RUNS];

static struct run *find_run(const uint8_t *id)
{
    for (struct run *run = runs; run < runs + RUNS; run++)
        if (run->state != UNUSED && !memcmp(run->id, id, ID_BYTES))
            return run;
    return NULL;
}

static void free_memory(struct run *run)
{
    free(run->spec);
    free(run->input.bytes);
    free(run->output[0].bytes);
    free(run->output[1].bytes);
    memset(run, 0, sizeof *run);
    run->input_fd = run->output_fd[0] = run->output_fd[1] = -1;
}

static struct run *add_run(const uint8_t *id)
{
    for (struct run *run = runs; run < runs + RUNS; run++) {
        if (run->state != UNUSED)
            continue;
        free_memory(run);
        run->spec = malloc(SPEC_BYTES);
        run->input.bytes = malloc(WINDOW_BYTES);
        run->output[0].bytes = malloc(WINDOW_BYTES);
        run->output[1].bytes = malloc(WINDOW_BYTES);
        if (!run->spec || !run->input.bytes || !run->output[0].bytes || !run->output[1].bytes) {
            free_memory(run);
            return NULL;
        }
        memcpy(run->id, id, ID_BYTES);
        run->state = COLLECTING;
        return run;
    }
    return NULL;
}

void close_pipe(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* To the whole group, or to the child alone, when it has just been made and leads no group yet. */
static void signal_run(const struct run *run, int number)
{
    if (kill(-run->pid, number) && errno == ESRCH)
        kill(run->pid, number);
}

static void forget_run(struct run *run)
{
    if (run->state == RUNNING)
        signal_run(run, SIGKILL);
    close_pipe(&run->input_fd);
    close_pipe(&run->output_fd[0]);
    close_pipe(&run->output_fd[1]);
    free_memory(run);
}

void forget_all_runs(void)
{
    for (struct run *run = runs; run < runs + RUNS; run++)
        if (run->state != UNUSED)
            forget_run(run);
}

void detach_all_runs(void)
{
    for (struct run *run = runs; run < runs + RUNS; run++) {
        run->attached = run->owes_state = false;
        if (run->state == COLLECTING)
            forget_run(run); /* the host went away in the middle of it */
    }
}

size_t list_runs(uint8_t *out)
{
    size_t length = 0;

    for (struct run *run = runs; run < runs + RUNS; run++) {
        if (run->state == UNUSED)
            continue;
        memcpy(out + length, run->id, ID_BYTES);
        length += ID_BYTES;
    }
    return length;
}

static const char *collect(const struct frame *frame, struct run *run)
{
    if (!run)
        run = add_run(frame->run);
    if (!run)
        return "too many runs at once";
    if (run->state != COLLECTING)
        return "this run has begun";
    if (run->spec_length + frame->length > SPEC_BYTES) {
        forget_run(run);
        return "the order is too long";
    }
    memcpy(run->spec + run->spec_length, frame->payload, frame->length);
    run->spec_length += frame->length;
    return NULL;
}

static const char *begin(struct run *run)
{
    const char *problem;

    if (run->state != COLLECTING)
        return "this run has begun";
    problem = launch(run->spec, run->spec_length, &run->pid, &run->input_fd, run->output_fd);
    if (problem) {
        forget_run(run);
        return problem;
    }
    free(run->spec);
    run->spec = NULL;
    run->state = RUNNING;
    run->attached = run->owes_state = true;
    return NULL;
}

/* What does not fit was sent against the rules, and what comes twice was sent again: neither is taken. */
static void take_input(struct run *run, const struct frame *frame)
{
    struct ring *ring = &run->input;
    size_t length = frame->length - OFFSET_BYTES;

    if (run->state == COLLECTING || run->input_ended || get_number(frame->payload, OFFSET_BYTES) != ring->end)
        return;
    if (ring->end - ring->base + length > WINDOW_BYTES)
        return;
    for (size_t done = 0; done < length;) {
        size_t at = (size_t)((ring->end + done) % WINDOW_BYTES);
        size_t part = length - done < WINDOW_BYTES - at ? length - done : WINDOW_BYTES - at;
        memcpy(ring->bytes + at, frame->payload + OFFSET_BYTES + done, part);
        done += part;
    }
    ring->end += length;
    run->input_ended = frame->flags & 1;
    if (run->input_fd < 0)
        ring->base = ring->end; /* nobody reads it any more */
    else if (run->input_ended && ring->base == ring->end)
        close_pipe(&run->input_fd);
}

/* The host has everything of these streams before the offsets; when it attaches, all after them is sent again. */
static void acknowledge(struct run *run, const uint8_t *offsets, bool again)
{
    for (int number = 0; number < 2; number++) {
        struct ring *ring = &run->output[number];
        uint64_t offset = get_number(offsets + number * OFFSET_BYTES, OFFSET_BYTES);

        if (offset > ring->base)
            ring->base = offset < ring->end ? offset : ring->end;
        if (again || ring->sent < ring->base)
            ring->sent = ring->base;
    }
}

const char *obey_for_run(const struct frame *frame)
{
    struct run *run = find_run(frame->run);

    if (frame->type == SPEC)
        return collect(frame, run);
    if (!run)
        return frame->type == BEGIN || frame->type == ATTACH ? "there is no such run" : NULL;
    if (frame->type == BEGIN)
        return begin(run);
    if (frame->type == INPUT && frame->length >= OFFSET_BYTES)
        take_input(run, frame);
    else if (frame->type == TAKEN && frame->length == 2 * OFFSET_BYTES)
        acknowledge(run, frame->payload, false);
    else if (frame->type == ATTACH && frame->length == 2 * OFFSET_BYTES && run->state != COLLECTING) {
        acknowledge(run, frame->payload, true);
        run->attached = run->owes_state = true;
        run->owes_exit = run->state == EXITED_RUN;
        run->wanted = 0;
    } else if (frame->type == KILL && frame->length == 1 && run->state == RUNNING)
        signal_run(run, frame->payload[0]);
    else if (frame->type == FORGET)
        forget_run(run);
    return NULL;
}

/* What is in the pipes when a command ends is still its output; what its children write later is not. */
static void end_run(struct run *run, int status, const struct rusage *usage)
{
    run->state = EXITED_RUN;
    run->status = status;
    run->usage = *usage;
    run->owes_exit = true;
    close_pipe(&run->input_fd);
    run->input.base = run->input.end;
    for (int number = 0; number < 2; number++) {
        int left = 0;
        if (run->output_fd[number] < 0)
            continue;
        ioctl(run->output_fd[number], FIONREAD, &left);
        run->left[number] = (size_t)left;
        if (!left)
            close_pipe(&run->output_fd[number]);
    }
}

void reap(void)
{
    struct rusage usage;
    int status;
    pid_t pid;

    while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0)
        for (struct run *run = runs; run < runs + RUNS; run++)
            if (run->state == RUNNING && run->pid == pid)
                end_run(run, status, &usage);
}
