/* What several lines of a request need; see files.h. */
#define _GNU_SOURCE
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

ssize_t from_hex(const char *text, uint8_t *bytes, size_t room)
{
    size_t digits = strlen(text);

    if (digits % 2 || digits / 2 > room || strspn(text, "0123456789abcdefABCDEF") != digits)
        return -1;
    for (size_t i = 0; i < digits / 2; i++)
        sscanf(text + 2 * i, "%2hhx", &bytes[i]);
    return (ssize_t)(digits / 2);
}

/* No fsync: a clone's disk does not outlive it, and waiting for disks is what we avoid. */
int write_file(const char *path, const void *data, size_t length, mode_t mode)
{
    char fresh[256];
    int file, result = 0;

    snprintf(fresh, sizeof fresh, "%s.new", path);
    file = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (file < 0)
        return errno;
    if (fchmod(file, mode) || write(file, data, length) != (ssize_t)length)
        result = errno ? errno : EIO;
    close(file);
    if (!result && rename(fresh, path))
        result = errno;
    return result;
}
