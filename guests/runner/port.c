/* Where the host is; see port.h. */
#define _GNU_SOURCE
#include "port.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int open_port(void)
{
    DIR *ports = opendir("/sys/class/virtio-ports");
    struct dirent *entry;
    int found = -1;

    while (ports && found < 0 && (entry = readdir(ports))) {
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
        if (!strcmp(name, PORT_NAME))
            found = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    }
    if (ports)
        closedir(ports);
    return found;
}

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
