/* How the bytes of the runs move: between their pipes and their rings, and from the rings to the host. */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runs.h"


/* --- pipes --- */

nfds_t pipes_to_poll(struct pollfd *polled)
{
    nfds_t count = 0;

    for (struct run *run = runs; run < runs + RUNS; run++) {
        if (run->state == UNUSED || run->state == COLLECTING)
            continue;
        /* without anything to write it is still polled: its end is told at once */
        if (run->input_fd >= 0)
            polled[count++] = (struct pollfd){run->input_fd, run->input.end > run->input.base ? POLLOUT : 0, 0};
        for (int number = 0; number < 2; number++) {
            const struct ring *ring = &run->output[number];
            if (run->output_fd[number] >= 0 && ring->end - ring->base < WINDOW_BYTES)
                polled[count++] = (struct pollfd){run->output_fd[number], POLLIN, 0};
        }
    }
    return count;
}

static void pass_input_on(struct run *run, short events)
{
    struct ring *ring = &run->input;
    size_t at = (size_t)(ring->base % WINDOW_BYTES), waiting = (size_t)(ring->end - ring->base);
    ssize_t count = 0;

    if (waiting)
        count = write(run->input_fd, ring->bytes + at, waiting < WINDOW_BYTES - at ? waiting : WINDOW_BYTES - at);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count < 0 || (!waiting && events & POLLERR)) { /* nobody reads it any more */
        ring->base = ring->end;
        close_pipe(&run->input_fd);
        return;
    }
    ring->base += (uint64_t)count;
    if (run->input_ended && ring->base == ring->end)
        close_pipe(&run->input_fd);
}

static void take_output(struct run *run, int number)
{
    struct ring *ring = &run->output[number];
    size_t at = (size_t)(ring->end % WINDOW_BYTES), room = WINDOW_BYTES - (size_t)(ring->end - ring->base);
    ssize_t count;

    if (room > WINDOW_BYTES - at)
        room = WINDOW_BYTES - at;
    if (run->state == EXITED_RUN && room > run->left[number])
        room = run->left[number];
    count = read(run->output_fd[number], ring->bytes + at, room);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count > 0) {
        ring->end += (uint64_t)count;
        if (run->state == RUNNING)
            return;
        run->left[number] -= (size_t)count;
        if (run->left[number])
            return;
    }
    close_pipe(&run->output_fd[number]);
}

void serve_pipe(const struct pollfd *entry)
{
    for (struct run *run = runs; run < runs + RUNS; run++) {
        if (run->state == UNUSED || run->state == COLLECTING)
            continue;
        if (run->input_fd == entry->fd)
            pass_input_on(run, entry->revents);
        else if (run->output_fd[0] == entry->fd || run->output_fd[1] == entry->fd)
            take_output(run, run->output_fd[1] == entry->fd);
        else
            continue;
        return;
    }
}

/* --- frames --- */

static void describe_exit(const struct run *run, struct frame *frame, uint8_t *payload)
{
    bool killed = WIFSIGNALED(run->status);
    const struct timeval *times[] = {&run->usage.ru_utime, &run->usage.ru_stime};

    put_number(payload, 4, killed ? UINT32_MAX : (uint64_t)WEXITSTATUS(run->status));
    put_number(payload + 4, 4, killed ? (uint64_t)WTERMSIG(run->status) : 0);
    put_number(payload + 8, 8, run->output[0].end);
    put_number(payload + 16, 8, run->output[1].end);
    for (int i = 0; i < 2; i++)
        put_number(payload + 24 + 8 * i, 8, (uint64_t)(times[i]->tv_sec * 1000000 + times[i]->tv_usec));
    put_number(payload + 40, 8, (uint64_t)run->usage.ru_maxrss);
    frame->type = EXITED;
    frame->length = 48;
}

static void cut_output(struct run *run, int number, struct frame *frame, uint8_t *payload)
{
    struct ring *ring = &run->output[number];
    size_t at = (size_t)(ring->sent % WINDOW_BYTES), length = (size_t)(ring->end - ring->sent);

    if (length > WINDOW_BYTES - at)
        length = WINDOW_BYTES - at;
    if (length > TO_HOST_BYTES - OFFSET_BYTES)
        length = TO_HOST_BYTES - OFFSET_BYTES;
    put_number(payload, OFFSET_BYTES, ring->sent);
    memcpy(payload + OFFSET_BYTES, ring->bytes + at, length);
    ring->sent += length;
    frame->type = OUTPUT;
    frame->flags = (uint8_t)(number + 1);
    frame->length = (uint16_t)(OFFSET_BYTES + length);
}

static void put_offset(struct frame *frame, uint8_t *payload, enum type type, uint64_t offset)
{
    put_number(payload, OFFSET_BYTES, offset);
    frame->type = (uint8_t)type;
    frame->length = OFFSET_BYTES;
}

/* Told when a quarter of the window is free again, or all of it: not for every few bytes. */
static bool wants_input(const struct run *run)
{
    uint64_t fresh = run->input.base - run->wanted;

    return fresh >= WINDOW_BYTES / 4 || (fresh && run->input.base == run->input.end);
}

static bool may_tell_exit(const struct run *run)
{
    return run->state == EXITED_RUN && run->owes_exit && run->output_fd[0] < 0 && run->output_fd[1] < 0;
}

bool anything_to_send(void)
{
    for (const struct run *run = runs; run < runs + RUNS; run++)
        if (run->attached && (run->owes_state || wants_input(run) || may_tell_exit(run) ||
                              run->output[0].sent < run->output[0].end || run->output[1].sent < run->output[1].end))
            return true;
    return false;
}

static bool frame_of(struct run *run, struct frame *frame, uint8_t *payload)
{
    if (run->state == UNUSED || run->state == COLLECTING || !run->attached)
        return false;
    *frame = (struct frame){.payload = payload};
    memcpy(frame->run, run->id, ID_BYTES);
    if (run->owes_state) {
        run->owes_state = false;
        put_offset(frame, payload, STATE, run->input.end);
        return true;
    }
    if (wants_input(run)) {
        run->wanted = run->input.base;
        put_offset(frame, payload, WANTED, run->wanted);
        return true;
    }
    for (int turn = 0; turn < 2; turn++) {
        int number = (run->turn + turn) % 2;
        if (run->output[number].sent < run->output[number].end) {
            run->turn = 1 - number;
            cut_output(run, number, frame, payload);
            return true;
        }
    }
    if (!may_tell_exit(run))
        return false;
    run->owes_exit = false;
    describe_exit(run, frame, payload);
    return true;
}

bool next_frame(struct frame *frame, uint8_t *payload)
{
    static unsigned next;

    for (unsigned tried = 0; tried < RUNS; tried++) {
        struct run *run = &runs[next];
        next = (next + 1) % RUNS;
        if (frame_of(run, frame, payload))
            return true;
    }
    return false;
}
