#ifndef SLIPWAY_PORT_H
#define SLIPWAY_PORT_H

#define PORT_NAME "org.slipway.run.0"

/* The device file of our channel, opened; -1 while there is none. */
int open_port(void);
/* A UNIX socket that listens, for tests; -1, and the reason on stderr. */
int listen_on(const char *path);

#endif
