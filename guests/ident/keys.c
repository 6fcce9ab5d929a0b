/*
 * SSH host keys. The template's are what all of its clones would have in common, so whoever has one clone could pass it off
 * as another: all of them go, of whatever type, and of dropbear too, which makes its own anew when it has none.
 */
#define _GNU_SOURCE
#include "keys.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"

#define FOLDER "/etc/ssh"
#define PID_FILE "/run/sshd.pid"
#define KEY_BYTES_MAX 8192

/* Removes the files of a folder whose names begin so. A folder that is not there has none. */
static int forget(const char *folder, const char *first)
{
    DIR *files = opendir(folder);
    struct dirent *entry;
    int result = 0;

    if (!files)
        return errno == ENOENT ? 0 : errno;
    while ((entry = readdir(files)))
        if (!strncmp(entry->d_name, first, strlen(first)) && unlinkat(dirfd(files), entry->d_name, 0))
            result = errno;
    closedir(files);
    return result;
}

int forget_keys(char *value)
{
    int result = forget(FOLDER, "ssh_host_"), other = forget("/etc/dropbear", "dropbear_");

    (void)value;
    return result ? result : other;
}

/*
 * Up to OpenSSH 9.7 each connection reads the keys anew. From 9.8 on, which is the one with a program for sessions, the
 * server has them in memory, and reads them again when it is told to.
 */
static void reload_server(void)
{
    FILE *file;
    int pid;

    if (access("/usr/lib/openssh/sshd-session", X_OK) && access("/usr/libexec/openssh/sshd-session", X_OK) &&
        access("/usr/lib/ssh/sshd-session", X_OK))
        return;
    file = fopen(PID_FILE, "re");
    if (!file)
        return;
    if (fscanf(file, "%d", &pid) == 1 && pid > 1)
        kill(pid, SIGHUP);
    fclose(file);
}

int set_ssh_key(char *value)
{
    static uint8_t bytes[KEY_BYTES_MAX];
    char path[64];
    char *type = strtok(value, " "), *private_part = strtok(NULL, " "), *public_part = strtok(NULL, " ");
    ssize_t length;
    int result;

    if (!public_part || strlen(type) > 16 || strspn(type, "abcdefghijklmnopqrstuvwxyz0123456789") != strlen(type))
        return EINVAL;
    mkdir(FOLDER, 0755);
    snprintf(path, sizeof path, FOLDER "/ssh_host_%s_key", type);
    length = from_hex(private_part, bytes, sizeof bytes);
    result = length > 0 ? write_file(path, bytes, (size_t)length, 0600) : EINVAL;
    explicit_bzero(bytes, sizeof bytes);
    if (result)
        return result;
    snprintf(path, sizeof path, FOLDER "/ssh_host_%s_key.pub", type);
    length = from_hex(public_part, bytes, sizeof bytes);
    result = length > 0 ? write_file(path, bytes, (size_t)length, 0644) : EINVAL;
    if (!result)
        reload_server();
    return result;
}
