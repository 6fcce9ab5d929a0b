#ifndef SLIPWAY_FRAMES_H
#define SLIPWAY_FRAMES_H

#include <stddef.h>
#include <stdint.h>

#include "probe.h"

#define FRAME 1514

/* The first Ethernet card that is up, with its address. */
int find_card(struct card *card);

/* A packet socket on the card that also hears what is not for it; -1 with errno. */
int listen_to_all(const struct card *card);

typedef int (*wanted_frame)(const unsigned char *frame, size_t length, const void *what);

/* Waits for a frame from outside of which `wanted` says yes. */
int hear(int wire, wanted_frame wanted, const void *what);
int hear_for(int wire, long wait_ms, wanted_frame wanted, const void *what);

int is_mac(const char *text, unsigned char *mac);

/* These write into a frame and return how long it is by then; `at` is where a header or a message begins. */
size_t ethernet(unsigned char *frame, const unsigned char *to, const unsigned char *from, uint16_t kind);
size_t arp_request(unsigned char *frame, const unsigned char *mac, struct in_addr sender, struct in_addr target);
size_t ipv4(unsigned char *at, struct in_addr from, struct in_addr to, unsigned char protocol, size_t payload);
size_t echo_request(unsigned char *at);
size_t udp(unsigned char *at, uint16_t from_port, uint16_t to_port, const void *payload, size_t length);

/* An IPv6 frame from an address of this link; the message's checksum, which is zero yet, stands at `sum_at`. */
size_t ipv6(unsigned char *frame, const struct card *card, const unsigned char *to_mac, const unsigned char *to,
    unsigned char protocol, const void *message, size_t length, size_t sum_at);

/* An ICMPv6 message, its checksum left zero, to the group ff02::GROUP. */
size_t icmpv6(unsigned char *frame, const struct card *card, unsigned char group, const void *message, size_t length);

/* The address of this link that `ipv6` sends from. */
void link_address(const struct card *card, unsigned char *address);

void put16(unsigned char *at, uint16_t value);

#endif
