#ifndef SLIPWAY_REACH_H
#define SLIPWAY_REACH_H

#include <stddef.h>

#include "probe.h"

extern const char *const USUAL_PORTS;

/* Asks a DNS server what it is, which one answers by itself; nothing that other services would act on. */
extern const unsigned char NAME_QUERY[];
extern const size_t NAME_QUERY_LENGTH;

/* What a program without any privilege tries: TCP, UDP and ping, through the kernel. `ports` are the first host's. */
void probe_sockets(const struct card *card, const struct targets *targets, const char *ports);

#endif
