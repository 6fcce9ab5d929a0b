#ifndef SLIPWAY_SHOUT_H
#define SLIPWAY_SHOUT_H

#include "probe.h"

int shout_all(const struct card *card, struct in_addr host, struct in_addr neighbour, const unsigned char *mac);

#endif
