#ifndef SLIPWAY_FORGED_H
#define SLIPWAY_FORGED_H

#include "probe.h"

/* What it takes frames built by hand to try. */
void probe_frames(const struct card *card, const struct targets *targets);

#endif
