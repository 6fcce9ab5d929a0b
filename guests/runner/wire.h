#ifndef SLIPWAY_WIRE_H
#define SLIPWAY_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Frames, both ways; integers are little-endian.
 *
 *   type 1 | flags 1 | length of the payload 2 | run 16 | Adler-32 of the 20 bytes before and the payload 4 | payload
 *
 * A zero byte between frames is padding. The host sends HELLO first, after as much padding as a frame can be long: what
 * an earlier host left half sent is thereby ended, its checksum is wrong, and from then on everything is skipped up to
 * the HELLO. The payloads stand beside the types.
 */
#define HEADER_BYTES 24
#define SUMMED_BYTES 20
#define ID_BYTES 16
#define FROM_HOST_BYTES 8192
#define TO_HOST_BYTES 16384
#define OFFSET_BYTES 8
#define HELLO_BYTES 48
#define MAGIC "slipway runner 1"

enum type {
    /* from the host */
    HELLO = 'H',  /* MAGIC, session 16, nonce 16; another session than before: its runs are killed and dropped */
    SPEC = 'S',   /* a piece of what to run: strings "arg=...", "env=K=V", "cwd=...", "user=...", each with a zero byte */
    BEGIN = 'B',  /* start what SPEC said; answered with STATE or REFUSED */
    INPUT = 'I',  /* offset 8, bytes; flag 1: that was the last of it */
    TAKEN = 'A',  /* offset 8 of stdout, 8 of stderr: the host has everything before them */
    ATTACH = 'T', /* the same two offsets: send everything from there on; answered with STATE or REFUSED */
    KILL = 'K',   /* signal 1, to the process group */
    FORGET = 'F', /* kill it if need be, and keep nothing */
    PING = 'P',   /* anything, up to 64 bytes; answered with the same */
    /* to the host; HELLO (MAGIC, nonce 16, the runs' ids, 16 each) and PING too */
    STATE = 'G',   /* offset 8 up to which INPUT has arrived; flag 1: it has been started */
    REFUSED = 'N', /* why */
    OUTPUT = 'O',  /* offset 8, bytes; flags 1 stdout, 2 stderr */
    WANTED = 'W',  /* offset 8 up to which INPUT has been passed on */
    EXITED = 'X',  /* code 4 (-1: by a signal), signal 4, bytes of stdout 8, of stderr 8, user 8 and system 8 in
                      microseconds, largest resident set 8 in KiB; comes after all of the output */
};

struct frame {
    uint8_t type, flags;
    uint16_t length;
    uint8_t run[ID_BYTES];
    const uint8_t *payload;
};

enum verdict { FRAME, INCOMPLETE, BROKEN };

/* Takes a frame from the front of the bytes; FRAME says that it is whole and right. The payload is not copied. */
enum verdict take_frame(const uint8_t *bytes, size_t length, struct frame *frame);

/* Writes a frame of up to TO_HOST_BYTES of payload to `out`, which has room for it; returns its length. */
size_t put_frame(uint8_t *out, const struct frame *frame);

uint64_t get_number(const uint8_t *bytes, size_t size);
void put_number(uint8_t *bytes, size_t size, uint64_t value);

#endif
