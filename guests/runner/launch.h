#ifndef SLIPWAY_LAUNCH_H
#define SLIPWAY_LAUNCH_H

#include <stddef.h>
#include <sys/types.h>

/*
 * Starts the command of a spec (wire.h) as the leader of a session of its own, with pipes as its standard streams.
 * Without "user=" it is DEFAULT_USER where there is one, else root; without "cwd=" that user's home. NULL, or why not. A
 * command that cannot be executed ends with 127 and a sentence on its stderr, as from a shell.
 */
#define DEFAULT_USER "slipway"

const char *launch(const char *spec, size_t length, pid_t *pid, int *input, int output[2]);

#endif
