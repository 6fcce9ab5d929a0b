#ifndef SLIPWAY_FILES_H
#define SLIPWAY_FILES_H

#include <stdint.h>
#include <sys/types.h>

/* Bytes from hexadecimal digits; their number, or -1 for anything else than an even number of digits that fits. */
ssize_t from_hex(const char *text, uint8_t *bytes, size_t room);

/* Replaces a file in one step; 0, or an errno value. It may be lost if the machine dies in the next seconds. */
int write_file(const char *path, const void *data, size_t length, mode_t mode);

#endif
