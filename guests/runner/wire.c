/* Frames to bytes and back; see wire.h. */
#include "wire.h"

#include <string.h>

#define ADLER 65521U
#define BEFORE_OVERFLOW 5552 /* bytes: RFC 1950's own figure for 32-bit sums */

static uint32_t add_up(uint32_t sum, const uint8_t *bytes, size_t length)
{
    uint32_t low = sum & 0xffff, high = sum >> 16;

    while (length) {
        size_t part = length < BEFORE_OVERFLOW ? length : BEFORE_OVERFLOW;
        length -= part;
        while (part--) {
            low += *bytes++;
            high += low;
        }
        low %= ADLER;
        high %= ADLER;
    }
    return high << 16 | low;
}

uint64_t get_number(const uint8_t *bytes, size_t size)
{
    uint64_t value = 0;

    while (size--)
        value = value << 8 | bytes[size];
    return value;
}

void put_number(uint8_t *bytes, size_t size, uint64_t value)
{
    for (size_t i = 0; i < size; i++, value >>= 8)
        bytes[i] = (uint8_t)value;
}

enum verdict take_frame(const uint8_t *bytes, size_t length, struct frame *frame)
{
    if (length < 4)
        return INCOMPLETE;
    frame->type = bytes[0];
    frame->flags = bytes[1];
    frame->length = (uint16_t)get_number(bytes + 2, 2);
    if (!strchr("HSBIATKFP", frame->type) || frame->length > FROM_HOST_BYTES)
        return BROKEN;
    if (length < HEADER_BYTES + (size_t)frame->length)
        return INCOMPLETE;
    memcpy(frame->run, bytes + 4, ID_BYTES);
    frame->payload = bytes + HEADER_BYTES;
    if (add_up(add_up(1, bytes, SUMMED_BYTES), frame->payload, frame->length) != get_number(bytes + SUMMED_BYTES, 4))
        return BROKEN;
    return FRAME;
}

size_t put_frame(uint8_t *out, const struct frame *frame)
{
    out[0] = frame->type;
    out[1] = frame->flags;
    put_number(out + 2, 2, frame->length);
    memcpy(out + 4, frame->run, ID_BYTES);
    memmove(out + HEADER_BYTES, frame->payload, frame->length);
    put_number(out + SUMMED_BYTES, 4, add_up(add_up(1, out, SUMMED_BYTES), out + HEADER_BYTES, frame->length));
    return HEADER_BYTES + (size_t)frame->length;
}
