#ifndef SLIPWAY_KEYS_H
#define SLIPWAY_KEYS_H

/* As in verbs.h; the value of forget_keys says nothing. */
int forget_keys(char *value);
int set_ssh_key(char *value);

#endif
