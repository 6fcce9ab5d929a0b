#ifndef SLIPWAY_LISTEN_H
#define SLIPWAY_LISTEN_H

/* A UNIX socket that listens, for tests; -1, and the reason on stderr. */
int listen_on(const char *path);

#endif
