/* A host that is none; see listen.h. */
#define _GNU_SOURCE
#include "listen.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

int listen_on(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (sock < 0 || bind(sock, (struct sockaddr *)&address, sizeof address) || listen(sock, 8)) {
        perror(path);
        return -1;
    }
    return sock;
}
