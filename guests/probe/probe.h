#ifndef SLIPWAY_PROBE_H
#define SLIPWAY_PROBE_H

#include <netinet/in.h>

#define WAIT_MS 1500 /* how long an answer may take */
#define DETAIL 256
#define HOSTS 16 /* addresses of the host that are tried */

/* The guest's card. */
struct card {
    int index, plugged;
    unsigned char mac[6];
    struct in_addr address, mask;
};

/* Whom to try. The first of `hosts` is the one whose every port is tried. */
struct targets {
    struct in_addr hosts[HOSTS];
    int host_count;
    int has_neighbour, has_mac;
    struct in_addr neighbour;
    unsigned char neighbours_mac[6]; /* broadcast where it is not known */
};

long now_ms(void);

/* Prints the line of a probe. */
void tell(const char *probe, const char *result, const char *detail);

/* "open" with what answered, or "blocked" where `found` is empty. */
void tell_found(const char *probe, const char *found);

/* Appends ",WORD" to a detail, as far as there is room. */
void add_word(char *detail, const char *word);

#endif
