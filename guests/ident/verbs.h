#ifndef SLIPWAY_VERBS_H
#define SLIPWAY_VERBS_H

/* Does what the line `key=value` asks, and may write into value. 0, or an errno value: ENOSYS for a key it does not know. */
int apply_verb(const char *key, char *value);

#endif
