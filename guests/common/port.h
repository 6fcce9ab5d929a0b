#ifndef SLIPWAY_PORT_H
#define SLIPWAY_PORT_H

/*
 * The device file of the virtio-serial channel of this name, opened for both ways with these flags besides (O_NONBLOCK).
 * It appears while the machine boots, if it has one at all, and is waited for; -1 where there is none after 10 s.
 */
int wait_for_port(const char *name, int flags);

#endif
