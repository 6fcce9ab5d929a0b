/* Frames built by hand, because the kernel would not send forged ones, and a packet socket to send and hear them. */
#include "frames.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "probe.h"

int find_card(struct card *card)
{
    struct if_nameindex *all = if_nameindex(), *each;
    int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), found = 0;

    for (each = all; each && each->if_index && !found; each++) {
        struct ifreq request;

        snprintf(request.ifr_name, sizeof request.ifr_name, "%s", each->if_name);
        if (ioctl(any, SIOCGIFHWADDR, &request) || request.ifr_hwaddr.sa_family != 1)
            continue;
        memcpy(card->mac, request.ifr_hwaddr.sa_data, 6);
        if (ioctl(any, SIOCGIFADDR, &request))
            continue;
        card->address = ((struct sockaddr_in *)&request.ifr_addr)->sin_addr;
        if (ioctl(any, SIOCGIFNETMASK, &request))
            continue;
        card->mask = ((struct sockaddr_in *)&request.ifr_netmask)->sin_addr;
        card->plugged = ioctl(any, SIOCGIFFLAGS, &request) == 0 && request.ifr_flags & IFF_RUNNING;
        card->index = (int)each->if_index;
        found = 1;
    }
    if (all)
        if_freenameindex(all);
    close(any);
    return found;
}

int listen_to_all(const struct card *card)
{
    struct sockaddr_ll where = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = card->index};
    struct packet_mreq all = {.mr_ifindex = card->index, .mr_type = PACKET_MR_PROMISC};
    int wire = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));

    if (wire < 0)
        return -1;
    if (bind(wire, (struct sockaddr *)&where, sizeof where)
        || setsockopt(wire, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof all)) {
        close(wire);
        return -1;
    }
    return wire;
}

int hear(int wire, wanted_frame wanted, const void *what)
{
    return hear_for(wire, WAIT_MS, wanted, what);
}

int hear_for(int wire, long wait_ms, wanted_frame wanted, const void *what)
{
    unsigned char frame[FRAME];
    long until = now_ms() + wait_ms, left;

    while ((left = until - now_ms()) > 0) {
        struct pollfd waiting = {wire, POLLIN, 0};
        struct sockaddr_ll from;
        socklen_t size = sizeof from;
        ssize_t length;

        if (poll(&waiting, 1, (int)left) <= 0)
            break;
        length = recvfrom(wire, frame, sizeof frame, 0, (struct sockaddr *)&from, &size);
        if (length > 0 && from.sll_pkttype != PACKET_OUTGOING && wanted(frame, (size_t)length, what))
            return 1;
    }
    return 0;
}

int is_mac(const char *text, unsigned char *mac)
{
    unsigned int part[6];

    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x", part, part + 1, part + 2, part + 3, part + 4, part + 5) != 6)
        return 0;
    for (int i = 0; i < 6; i++)
        mac[i] = (unsigned char)part[i];
    return 1;
}

size_t ethernet(unsigned char *frame, const unsigned char *to, const unsigned char *from, uint16_t kind)
{
    memcpy(frame, to, 6);
    memcpy(frame + 6, from, 6);
    frame[12] = (unsigned char)(kind >> 8);
    frame[13] = (unsigned char)kind;
    return 14;
}

size_t arp_request(unsigned char *frame, const unsigned char *mac, struct in_addr sender, struct in_addr target)
{
    static const unsigned char everybody[6] = {255, 255, 255, 255, 255, 255}, fixed[8] = {0, 1, 8, 0, 6, 4, 0, 1};

    ethernet(frame, everybody, mac, ETH_P_ARP);
    memcpy(frame + 14, fixed, 8);
    memcpy(frame + 22, mac, 6);
    memcpy(frame + 28, &sender, 4);
    memset(frame + 32, 0, 6);
    memcpy(frame + 38, &target, 4);
    memset(frame + 42, 0, 18);
    return 60;
}

static uint16_t checksum(const unsigned char *data, size_t length, uint32_t sum)
{
    for (size_t i = 0; i + 1 < length; i += 2)
        sum += (uint32_t)(data[i] << 8 | data[i + 1]);
    if (length % 2)
        sum += (uint32_t)(data[length - 1] << 8);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

void put16(unsigned char *at, uint16_t value)
{
    at[0] = (unsigned char)(value >> 8);
    at[1] = (unsigned char)value;
}

/* Puts an IPv4 header before `payload` bytes that are already there. */
size_t ipv4(unsigned char *at, struct in_addr from, struct in_addr to, unsigned char protocol, size_t payload)
{
    memset(at, 0, 20);
    at[0] = 0x45;
    put16(at + 2, (uint16_t)(20 + payload));
    at[8] = 64;
    at[9] = protocol;
    memcpy(at + 12, &from, 4);
    memcpy(at + 16, &to, 4);
    put16(at + 10, checksum(at, 20, 0));
    return 20 + payload;
}

size_t echo_request(unsigned char *at)
{
    memset(at, 0, 16);
    at[0] = 8;
    put16(at + 4, 0x511b);
    put16(at + 2, checksum(at, 16, 0));
    return 16;
}

void link_address(const struct card *card, unsigned char *address)
{
    memset(address, 0, 16);
    put16(address, 0xfe80);
    address[15] = card->mac[5];
}

size_t ipv6(unsigned char *frame, const struct card *card, const unsigned char *to_mac, const unsigned char *to,
    unsigned char protocol, const void *message, size_t length, size_t sum_at)
{
    ethernet(frame, to_mac, card->mac, ETH_P_IPV6);
    memset(frame + 14, 0, 8);
    frame[14] = 0x60;
    put16(frame + 18, (uint16_t)length);
    frame[20] = protocol;
    frame[21] = 255;
    link_address(card, frame + 22);
    memcpy(frame + 38, to, 16);
    memcpy(frame + 54, message, length);
    /* both addresses are part of it */
    put16(frame + 54 + sum_at, checksum(frame + 22, 32 + length, (uint32_t)length + protocol));
    return 54 + length;
}

size_t icmpv6(unsigned char *frame, const struct card *card, unsigned char group, const void *message, size_t length)
{
    const unsigned char mac[6] = {0x33, 0x33, 0, 0, 0, group}, to[16] = {0xff, 0x02, [15] = group};

    return ipv6(frame, card, mac, to, 58, message, length, 2);
}

size_t udp(unsigned char *at, uint16_t from_port, uint16_t to_port, const void *payload, size_t length)
{
    put16(at, from_port);
    put16(at + 2, to_port);
    put16(at + 4, (uint16_t)(8 + length));
    put16(at + 6, 0);
    memcpy(at + 8, payload, length);
    return 8 + length;
}
