/* What it takes frames built by hand to try: neighbours without a route, other senders than ourselves, IPv6. */
#include "forged.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/ethernet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "frames.h"
#include "reach.h"

#define SOON_MS 300

struct heard {
    struct in_addr address;
    const unsigned char *mac;
};

static int is_arp_reply_to(const unsigned char *frame, size_t length, const void *what)
{
    const struct heard *heard = what;

    return length >= 42 && frame[12] == 8 && frame[13] == 6 && frame[21] == 2 && !memcmp(frame + 28, &heard->address, 4)
        && !memcmp(frame + 32, heard->mac, 6);
}

static int is_arp_request_for(const unsigned char *frame, size_t length, const void *what)
{
    const struct heard *heard = what;

    return length >= 42 && frame[12] == 8 && frame[13] == 6 && frame[21] == 1 && !memcmp(frame + 38, &heard->address, 4);
}

static int is_echo_from(const unsigned char *frame, size_t length, const void *what)
{
    const struct heard *heard = what;

    return length >= 42 && frame[12] == 8 && frame[13] == 0 && frame[23] == 1 && frame[34] == 0
        && !memcmp(frame + 26, &heard->address, 4);
}

static int is_router(const unsigned char *frame, size_t length, const void *what)
{
    (void)what;
    return length >= 55 && frame[12] == 0x86 && frame[13] == 0xdd && frame[20] == 58 && frame[54] == 134;
}

static void result_of(const char *probe, int wire, const unsigned char *frame, size_t length, wanted_frame wanted,
    const void *what)
{
    if (send(wire, frame, length, 0) < 0)
        tell(probe, "untested", strerror(errno));
    else
        tell(probe, hear(wire, wanted, what) ? "open" : "blocked", "");
}

/* The host's MAC, as the kernel's own ARP finds it when something is sent there. */
static void mac_of(struct in_addr host, unsigned char *mac)
{
    const char *address = inet_ntoa(host);
    char line[256], kind[32], flags[32], found[32], known[64];
    FILE *table = fopen("/proc/net/arp", "re");

    memset(mac, 255, 6);
    while (table && fgets(line, sizeof line, table)) {
        if (sscanf(line, "%63s %31s %31s %31s", known, kind, flags, found) == 4 && !strcmp(known, address)
            && strcmp(flags, "0x0"))
            is_mac(found, mac);
    }
    if (table)
        fclose(table);
}

static int is_for_us_by_ipv6(const unsigned char *frame, size_t length, const void *what)
{
    const struct card *card = what;
    unsigned char own[16];

    link_address(card, own);
    if (length < 54 || frame[12] != 0x86 || frame[13] != 0xdd)
        return 0;
    /* somebody who looks for us wants to answer */
    return !memcmp(frame, card->mac, 6)
        || (length >= 78 && frame[20] == 58 && frame[54] == 135 && !memcmp(frame + 62, own, 16));
}

/* An answer to the question of names, or a refusal, to the port that it was asked from. */
struct asked {
    struct in_addr of;
    uint16_t port;
};

static int is_answer_to(const unsigned char *frame, size_t length, const void *what)
{
    const struct asked *asked = what;

    if (length < 42 || frame[12] != 8 || frame[13] != 0 || memcmp(frame + 26, &asked->of, 4))
        return 0;
    return (frame[23] == 17 && (frame[36] << 8 | frame[37]) == asked->port) || (frame[23] == 1 && frame[34] == 3);
}

static int ask(int wire, const struct card *card, const unsigned char *mac, struct asked asked, uint16_t to_port)
{
    unsigned char frame[FRAME];
    size_t length;

    ethernet(frame, mac, card->mac, ETH_P_IP);
    length = udp(frame + 34, asked.port, to_port, NAME_QUERY, NAME_QUERY_LENGTH);
    length = 14 + ipv4(frame + 14, card->address, asked.of, 17, length);
    return send(wire, frame, length, 0) > 0 && hear(wire, is_answer_to, &asked);
}

/* What a DHCP server sends comes from port 67. Whether that gets out shows where something else would be answered. */
static void probe_dhcp(int wire, const struct card *card, const struct targets *targets, const unsigned char *host_mac)
{
    struct in_addr host = targets->hosts[0], neighbour = targets->neighbour;
    int witness = targets->has_mac;

    if (ask(wire, card, host_mac, (struct asked){host, 67}, 53)) {
        tell("dhcp", "open", "names");
        return;
    }
    if (witness && ask(wire, card, targets->neighbours_mac, (struct asked){neighbour, 67}, 68)) {
        tell("dhcp", "open", "neighbour");
        return;
    }
    witness = witness || ask(wire, card, host_mac, (struct asked){host, 20867}, 53);
    tell("dhcp", witness ? "blocked" : "untested", witness ? "" : "nobody");
}

/* Everybody is asked for a sign of life; then the host by the address that follows from its MAC: ping and TCP. */
static void probe_ipv6(int wire, const struct card *card, const unsigned char *host_mac)
{
    static const unsigned char ports[] = {22, 53, 80};
    const unsigned char h[6] = {host_mac[0], host_mac[1], host_mac[2], host_mac[3], host_mac[4], host_mac[5]};
    const unsigned char to[16] = {0xfe, 0x80, [8] = h[0] ^ 2, h[1], h[2], 0xff, 0xfe, h[3], h[4], h[5]};
    const unsigned char group[16] = {0xff, 2, [11] = 1, 0xff, h[3], h[4], h[5]};
    const unsigned char group_mac[6] = {0x33, 0x33, 0xff, h[3], h[4], h[5]};
    unsigned char frame[FRAME], look[32] = {135, [24] = 1, 1}, echo[8] = {128, [4] = 0x51, 0x1b};
    size_t length = icmpv6(frame, card, 1, echo, sizeof echo);

    if (send(wire, frame, length, 0) < 0) {
        tell("host_ipv6", "untested", strerror(errno));
        return;
    }
    memcpy(look + 8, to, 16);
    memcpy(look + 26, card->mac, 6);
    send(wire, frame, ipv6(frame, card, group_mac, group, 58, look, sizeof look, 2), 0);
    send(wire, frame, ipv6(frame, card, host_mac, to, 58, echo, sizeof echo, 2), 0);
    for (size_t i = 0; i < sizeof ports; i++) {
        const unsigned char syn[20] = {0x51, 0x1b, 0, ports[i], [12] = 0x50, 2, 0x10};

        send(wire, frame, ipv6(frame, card, host_mac, to, 6, syn, sizeof syn, 16), 0);
    }
    tell("host_ipv6", hear(wire, is_for_us_by_ipv6, card) ? "open" : "blocked", "");
}

/* Do the host's addresses on other networks answer ARP here? Each question is answered at once or not at all. */
static void probe_host_arp(int wire, const struct card *card, const struct targets *targets)
{
    unsigned char frame[FRAME];
    char found[DETAIL] = "";
    int tried = 0;

    for (int i = 0; i < targets->host_count; i++) {
        struct heard heard = {targets->hosts[i], card->mac};

        if (!((targets->hosts[i].s_addr ^ card->address.s_addr) & card->mask.s_addr))
            continue; /* the way out, which has to answer */
        tried = 1;
        if (send(wire, frame, arp_request(frame, card->mac, card->address, heard.address), 0) < 0)
            continue;
        if (hear_for(wire, SOON_MS, is_arp_reply_to, &heard))
            add_word(found, inet_ntoa(heard.address));
    }
    if (tried)
        tell_found("host_arp", found);
    else
        tell("host_arp", "untested", "nobody");
}

static void probe_neighbour(int wire, const struct card *card, const struct targets *targets)
{
    unsigned char frame[FRAME];
    struct heard heard = {targets->neighbour, card->mac};
    size_t length;

    if (!targets->has_neighbour) {
        tell("neighbour_arp", "untested", "nobody");
        tell("neighbour_ping", "untested", "nobody");
        return;
    }
    length = arp_request(frame, card->mac, card->address, targets->neighbour);
    result_of("neighbour_arp", wire, frame, length, is_arp_reply_to, &heard);

    ethernet(frame, targets->neighbours_mac, card->mac, ETH_P_IP);
    length = 14 + ipv4(frame + 14, card->address, targets->neighbour, 1, echo_request(frame + 34));
    result_of("neighbour_ping", wire, frame, length, is_echo_from, &heard);
}

static void probe_forged(int wire, const struct card *card, const struct targets *targets, const unsigned char *host_mac)
{
    unsigned char frame[FRAME], forged_mac[6];
    struct in_addr host = targets->hosts[0], forged;
    struct heard heard = {host, forged_mac};
    size_t length;

    memcpy(forged_mac, card->mac, 6);
    forged_mac[5] ^= 0x55;
    /* an address of our network that is neither ours nor the neighbour's nor the host's */
    forged.s_addr = card->address.s_addr ^ htonl(0x80 & ~ntohl(card->mask.s_addr));
    if (forged.s_addr == targets->neighbour.s_addr || forged.s_addr == host.s_addr)
        forged.s_addr ^= htonl(0x40);

    length = arp_request(frame, forged_mac, card->address, host);
    result_of("forged_mac", wire, frame, length, is_arp_reply_to, &heard);

    heard = (struct heard){forged, card->mac};
    ethernet(frame, host_mac, card->mac, ETH_P_IP);
    length = 14 + ipv4(frame + 14, forged, host, 1, echo_request(frame + 34));
    result_of("forged_ip", wire, frame, length, is_arp_request_for, &heard);
}

void probe_frames(const struct card *card, const struct targets *targets)
{
    unsigned char frame[FRAME], host_mac[6];
    int wire = listen_to_all(card);

    if (wire < 0) {
        tell("frames", "untested", strerror(errno));
        return;
    }
    mac_of(targets->hosts[0], host_mac);
    probe_neighbour(wire, card, targets);
    probe_host_arp(wire, card, targets);
    probe_forged(wire, card, targets, host_mac);
    probe_dhcp(wire, card, targets, host_mac);
    probe_ipv6(wire, card, host_mac);
    result_of("router", wire, frame, icmpv6(frame, card, 2, (const unsigned char[8]){133}, 8), is_router, NULL);
    close(wire);
}
