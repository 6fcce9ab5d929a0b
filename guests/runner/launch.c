/* Starting one command; see launch.h. */
#define _GNU_SOURCE
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORDS 4096
#define VARIABLES 1024
#define GROUPS 64
#define PATH_VALUE "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct order {
    const char *arguments[WORDS + 1], *user, *folder;
    const char *variables[VARIABLES];
    size_t argument_count, variable_count;
};

struct account {
    char name[64], home[256], shell[256];
    uid_t uid;
    gid_t gid, groups[GROUPS];
    size_t group_count;
};

static struct order order;
static struct account account;

static const char *read_spec(const char *spec, size_t length)
{
    memset(&order, 0, sizeof order);
    if (!length || spec[length - 1])
        return "the order is incomplete";
    for (const char *word = spec; word < spec + length; word += strlen(word) + 1) {
        if (!strncmp(word, "arg=", 4) && order.argument_count < WORDS)
            order.arguments[order.argument_count++] = word + 4;
        else if (!strncmp(word, "env=", 4) && order.variable_count < VARIABLES)
            order.variables[order.variable_count++] = word + 4;
        else if (!strncmp(word, "cwd=", 4))
            order.folder = word + 4;
        else if (!strncmp(word, "user=", 5))
            order.user = word + 5;
        else
            return "the order has something that is not known here, or too much of it";
    }
    return order.argument_count && *order.arguments[0] ? NULL : "the order has no command";
}

/* /etc/passwd itself: a static program cannot load the modules that getpwnam() may want. */
static bool find_account(const char *name)
{
    FILE *file = fopen("/etc/passwd", "re");
    struct passwd *entry;
    bool found = false;

    while (file && !found && (entry = fgetpwent(file))) {
        if (strcmp(entry->pw_name, name))
            continue;
        found = true;
        snprintf(account.name, sizeof account.name, "%s", entry->pw_name);
        snprintf(account.home, sizeof account.home, "%s", entry->pw_dir);
        snprintf(account.shell, sizeof account.shell, "%s", *entry->pw_shell ? entry->pw_shell : "/bin/sh");
        account.uid = entry->pw_uid;
        account.gid = entry->pw_gid;
    }
    if (file)
        fclose(file);
    return found;
}

static void find_groups(void)
{
    FILE *file = fopen("/etc/group", "re");
    struct group *entry;

    account.groups[0] = account.gid;
    account.group_count = 1;
    while (file && account.group_count < GROUPS && (entry = fgetgrent(file)))
        for (char **member = entry->gr_mem; *member; member++)
            if (!strcmp(*member, account.name) && account.group_count < GROUPS)
                account.groups[account.group_count++] = entry->gr_gid;
    if (file)
        fclose(file);
}

static const char *choose_account(void)
{
    bool found;

    if (getuid()) { /* not root: only a test does that */
        found = find_account("root");
        account.uid = getuid();
        account.gid = getgid();
        return found ? NULL : "there is no such user";
    }
    if (order.user)
        found = find_account(order.user);
    else
        found = find_account(DEFAULT_USER) || find_account("root");
    if (found)
        find_groups();
    return found ? NULL : "there is no such user";
}

static void set_environment(void)
{
    clearenv();
    setenv("PATH", PATH_VALUE, 1);
    setenv("HOME", account.home, 1);
    setenv("USER", account.name, 1);
    setenv("LOGNAME", account.name, 1);
    setenv("SHELL", account.shell, 1);
    for (size_t i = 0; i < order.variable_count; i++)
        if (*order.variables[i] != '=' && strchr(order.variables[i], '='))
            putenv((char *)order.variables[i]);
}

/* The runner itself is spared when memory runs out (its unit says so); its commands are not. */
static void be_killable(void)
{
    int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (file >= 0) {
        if (write(file, "0", 1) != 1)
            perror("slipway-runner: oom_score_adj");
        close(file);
    }
}

static void leave(int code, const char *what)
{
    fprintf(stderr, "slipway-runner: %s: %s\n", what, strerror(errno));
    _exit(code);
}

static void become_command(const int pipes[3])
{
    sigset_t none;

    setsid();
    for (int number = 0; number < 3; number++)
        if (dup2(pipes[number], number) < 0)
            _exit(126);
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL); /* what whoever started us ignored is not for the command to ignore */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    be_killable();
    umask(022);
    if (!getuid() && (setgroups(account.group_count, account.groups) || setgid(account.gid) || setuid(account.uid)))
        leave(126, account.name);
    set_environment();
    if (order.folder ? chdir(order.folder) : chdir(account.home) && chdir("/"))
        leave(126, order.folder ? order.folder : "/");
    execvp(order.arguments[0], (char *const *)order.arguments);
    leave(errno == ENOENT ? 127 : 126, order.arguments[0]);
}

static void close_both(const int ends[2])
{
    close(ends[0]);
    close(ends[1]);
}

const char *launch(const char *spec, size_t length, pid_t *pid, int *input, int output[2])
{
    int in[2], out[2], err[2];
    const char *problem = read_spec(spec, length);

    problem = problem ? problem : choose_account();
    if (problem)
        return problem;
    if (pipe2(in, O_CLOEXEC))
        return strerror(errno);
    if (pipe2(out, O_CLOEXEC)) {
        close_both(in);
        return "no pipe is left";
    }
    if (pipe2(err, O_CLOEXEC)) {
        close_both(in);
        close_both(out);
        return "no pipe is left";
    }
    *pid = fork();
    if (!*pid) {
        const int ends[3] = {in[0], out[1], err[1]};
        become_command(ends);
    }
    close(in[0]);
    close(out[1]);
    close(err[1]);
    if (*pid < 0) {
        close(in[1]);
        close(out[0]);
        close(err[0]);
        return "no process is left";
    }
    *input = in[1];
    output[0] = out[0];
    output[1] = err[0];
    for (int number = 0; number < 2; number++)
        fcntl(output[number], F_SETFL, O_NONBLOCK);
    fcntl(*input, F_SETFL, O_NONBLOCK);
    return NULL;
}
