/* Where the host is; see port.h. */
#define _GNU_SOURCE
#include "port.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define TRIES 100
#define BETWEEN_TRIES_NS 100000000L

static int open_port(const char *wanted, int flags)
{
    DIR *ports = opendir("/sys/class/virtio-ports");
    struct dirent *entry;
    int port = -1;

    while (ports && port < 0 && (entry = readdir(ports))) {
        char path[300], name[64] = "";
        FILE *file;

        snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", entry->d_name);
        file = fopen(path, "re");
        if (!file)
            continue;
        if (fgets(name, sizeof name, file))
            name[strcspn(name, "\n")] = '\0';
        fclose(file);
        snprintf(path, sizeof path, "/dev/%s", entry->d_name);
        if (!strcmp(name, wanted))
            port = open(path, O_RDWR | O_CLOEXEC | flags);
    }
    if (ports)
        closedir(ports);
    return port;
}

int wait_for_port(const char *name, int flags)
{
    struct timespec pause_time = {0, BETWEEN_TRIES_NS};
    int port = open_port(name, flags);

    for (int tries = 0; port < 0 && tries < TRIES; tries++) {
        nanosleep(&pause_time, NULL);
        port = open_port(name, flags);
    }
    return port;
}
