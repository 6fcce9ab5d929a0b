/*
 * Tries to get out of a sandbox, and says what it could not do. Run inside the guest, by root, by the isolation report.
 *
 *   slipway-probe HOST NEIGHBOUR [PORTS]
 *   slipway-probe shout HOST NEIGHBOUR NEIGHBOURS_MAC
 *
 * The first tries and says what came back; the second only sends, for a test that listens at the neighbour's end.
 *
 * HOST is the bridge's address (the gateway), NEIGHBOUR another guest's on the same bridge, PORTS a list like
 * "22,53,8000-8010" of the host's TCP ports. One line a probe on stdout, "NAME RESULT DETAIL":
 *
 *   host_tcp       a TCP connection to one of PORTS of the host; DETAIL: the ports that answered
 *   neighbour_ping, neighbour_arp, neighbour_tcp   any answer of the neighbour
 *   metadata       a TCP connection to 169.254.169.254, port 80
 *   private        a TCP connection to a few addresses of the private ranges
 *   forged_mac     an ARP request of another MAC than ours that somebody answered
 *   forged_ip      a packet with another source address than ours that made somebody look for that address
 *   router         an IPv6 router solicitation that somebody answered
 *
 * RESULT: "blocked" nothing came back, "open" something did, "untested" it could not be tried (DETAIL says why).
 * Frames are built by hand on a packet socket, because the kernel would not send forged ones.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define AT_ONCE 256
#define WAIT_MS 1500
#define FRAME 1514
#define DETAIL 256

static const char *const PRIVATE[] = {"10.0.0.1", "172.16.0.1", "172.17.0.1", "192.168.0.1", "192.168.122.1", "100.64.0.1"};
static const char *const USUAL_PORTS = "1-1024,2049,3128,3306,5432,5900-5920,6379,8000-8100,8443,9090,9100,16509,16514,49152";

struct card {
    int index;
    unsigned char mac[6];
    struct in_addr address, mask;
};

static long now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000L + now.tv_nsec / 1000000L;
}

static void tell(const char *probe, const char *result, const char *detail)
{
    printf("%s %s%s%s\n", probe, result, *detail ? " " : "", detail);
    fflush(stdout);
}

/* ---- TCP ---------------------------------------------------------------------------------------------------- */

static int begin_connect(struct in_addr to, int port)
{
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = to};
    int tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (tcp < 0)
        return -1;
    if (connect(tcp, (struct sockaddr *)&where, sizeof where) && errno != EINPROGRESS) {
        close(tcp);
        return -1;
    }
    return tcp;
}

/* Tries `count` ports of one address at once; a port answers when it takes or refuses the connection. */
static void try_ports(struct in_addr to, const int *ports, int count, char *detail, size_t room)
{
    struct pollfd waiting[AT_ONCE];
    long until = now_ms() + WAIT_MS, left;
    int open = count;

    for (int i = 0; i < count; i++)
        waiting[i] = (struct pollfd){begin_connect(to, ports[i]), POLLOUT, 0};
    while (open > 0 && (left = until - now_ms()) > 0 && poll(waiting, (nfds_t)count, (int)left) > 0) {
        for (int i = 0; i < count; i++) {
            int problem = 0;
            socklen_t size = sizeof problem;
            size_t used = strlen(detail);

            if (waiting[i].fd < 0 || !waiting[i].revents)
                continue;
            getsockopt(waiting[i].fd, SOL_SOCKET, SO_ERROR, &problem, &size);
            if ((problem == 0 || problem == ECONNREFUSED) && used + 16 < room)
                snprintf(detail + used, room - used, "%s%d%s", used ? "," : "", ports[i], problem ? "(refused)" : "");
            close(waiting[i].fd);
            waiting[i].fd = -1;
            open--;
        }
    }
    for (int i = 0; i < count; i++)
        if (waiting[i].fd >= 0)
            close(waiting[i].fd);
}

static void probe_host(struct in_addr host, const char *list)
{
    char copy[1024], detail[DETAIL] = "", *part, *rest = copy;
    int ports[AT_ONCE], count = 0;

    snprintf(copy, sizeof copy, "%s", list);
    while ((part = strsep(&rest, ","))) {
        char *dash = strchr(part, '-');
        int first = atoi(part), last = dash ? atoi(dash + 1) : first;

        for (int port = first; port > 0 && port <= last && port < 65536; port++) {
            ports[count++] = port;
            if (count == AT_ONCE) {
                try_ports(host, ports, count, detail, sizeof detail);
                count = 0;
            }
        }
    }
    if (count)
        try_ports(host, ports, count, detail, sizeof detail);
    tell("host_tcp", *detail ? "open" : "blocked", detail);
}

static void probe_one_port(const char *probe, struct in_addr to, int port)
{
    char detail[DETAIL] = "";

    try_ports(to, &port, 1, detail, sizeof detail);
    tell(probe, *detail ? "open" : "blocked", detail);
}

static void probe_private(void)
{
    char found[DETAIL] = "";

    for (size_t i = 0; i < sizeof PRIVATE / sizeof *PRIVATE; i++) {
        int ports[] = {22, 53, 80, 443};
        char detail[DETAIL] = "";
        struct in_addr to;

        inet_aton(PRIVATE[i], &to);
        try_ports(to, ports, 4, detail, sizeof detail);
        if (*detail && strlen(found) + strlen(PRIVATE[i]) + 2 < sizeof found)
            snprintf(found + strlen(found), sizeof found - strlen(found), "%s%s", *found ? "," : "", PRIVATE[i]);
    }
    tell("private", *found ? "open" : "blocked", found);
}

/* ---- frames ------------------------------------------------------------------------------------------------- */

/* The first Ethernet card that is up, with its address. */
static int find_card(struct card *card)
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
        card->index = (int)each->if_index;
        found = 1;
    }
    if (all)
        if_freenameindex(all);
    close(any);
    return found;
}

/* A packet socket on the card that also hears what is not for it. */
static int listen_to_all(const struct card *card)
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

typedef int (*wanted_frame)(const unsigned char *frame, size_t length, const void *what);

/* Waits for a frame from outside of which `wanted` says yes. */
static int hear(int wire, wanted_frame wanted, const void *what)
{
    unsigned char frame[FRAME];
    long until = now_ms() + WAIT_MS, left;

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

static size_t ethernet(unsigned char *frame, const unsigned char *to, const unsigned char *from, uint16_t kind)
{
    memcpy(frame, to, 6);
    memcpy(frame + 6, from, 6);
    frame[12] = (unsigned char)(kind >> 8);
    frame[13] = (unsigned char)kind;
    return 14;
}

static size_t arp_request(unsigned char *frame, const unsigned char *mac, struct in_addr sender, struct in_addr target)
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

static void put16(unsigned char *at, uint16_t value)
{
    at[0] = (unsigned char)(value >> 8);
    at[1] = (unsigned char)value;
}

/* An IPv4 header before `payload` bytes that are already there. */
static size_t ipv4(unsigned char *at, struct in_addr from, struct in_addr to, unsigned char protocol, size_t payload)
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

static size_t echo_request(unsigned char *at)
{
    memset(at, 0, 16);
    at[0] = 8;
    put16(at + 4, 0x511b);
    put16(at + 2, checksum(at, 16, 0));
    return 16;
}

/* A frame with an ICMPv6 message, its checksum left zero, to the group ff02::GROUP, from an address of this link. */
static size_t icmpv6(unsigned char *frame, const struct card *card, unsigned char group, const void *message,
    size_t length)
{
    const unsigned char to[6] = {0x33, 0x33, 0, 0, 0, group};

    ethernet(frame, to, card->mac, ETH_P_IPV6);
    memset(frame + 14, 0, 40);
    frame[14] = 0x60;
    put16(frame + 18, (uint16_t)length);
    frame[20] = 58;
    frame[21] = 255;
    put16(frame + 22, 0xfe80);
    frame[37] = card->mac[5];
    put16(frame + 38, 0xff02);
    frame[53] = group;
    memcpy(frame + 54, message, length);
    put16(frame + 56, checksum(frame + 22, 32 + length, (uint32_t)length + 58)); /* both addresses are part of it */
    return 54 + length;
}

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

static int is_mac(const char *text, unsigned char *mac)
{
    unsigned int part[6];

    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x", part, part + 1, part + 2, part + 3, part + 4, part + 5) != 6)
        return 0;
    for (int i = 0; i < 6; i++)
        mac[i] = (unsigned char)part[i];
    return 1;
}

/* The host's MAC, as the kernel's own ARP finds it when something is sent there. */
static void mac_of(const char *address, unsigned char *mac)
{
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

static void probe_frames(const struct card *card, const char *host_name, struct in_addr host, struct in_addr neighbour)
{
    unsigned char frame[FRAME], forged_mac[6], host_mac[6];
    struct in_addr forged;
    struct heard heard;
    size_t length;
    int wire = listen_to_all(card);

    if (wire < 0) {
        tell("frames", "untested", strerror(errno));
        return;
    }
    mac_of(host_name, host_mac);
    memcpy(forged_mac, card->mac, 6);
    forged_mac[5] ^= 0x55;
    /* an address of our network that is neither ours nor the neighbour's nor the host's */
    forged.s_addr = card->address.s_addr ^ htonl(0x80 & ~ntohl(card->mask.s_addr));
    if (forged.s_addr == neighbour.s_addr || forged.s_addr == host.s_addr)
        forged.s_addr ^= htonl(0x40);

    heard = (struct heard){neighbour, card->mac};
    length = arp_request(frame, card->mac, card->address, neighbour);
    result_of("neighbour_arp", wire, frame, length, is_arp_reply_to, &heard);

    ethernet(frame, (const unsigned char[6]){255, 255, 255, 255, 255, 255}, card->mac, ETH_P_IP);
    length = 14 + ipv4(frame + 14, card->address, neighbour, 1, echo_request(frame + 34));
    result_of("neighbour_ping", wire, frame, length, is_echo_from, &heard);

    heard = (struct heard){host, forged_mac};
    length = arp_request(frame, forged_mac, card->address, host);
    result_of("forged_mac", wire, frame, length, is_arp_reply_to, &heard);

    heard = (struct heard){forged, card->mac};
    ethernet(frame, host_mac, card->mac, ETH_P_IP);
    length = 14 + ipv4(frame + 14, forged, host, 1, echo_request(frame + 34));
    result_of("forged_ip", wire, frame, length, is_arp_request_for, &heard);

    length = icmpv6(frame, card, 2, (const unsigned char[8]){133}, 8);
    result_of("router", wire, frame, length, is_router, NULL);
    close(wire);
}

/* ---- shouting ----------------------------------------------------------------------------------------------- */

static size_t udp(unsigned char *at, uint16_t from_port, uint16_t to_port, const void *payload, size_t length)
{
    put16(at, from_port);
    put16(at + 2, to_port);
    put16(at + 4, (uint16_t)(8 + length));
    put16(at + 6, 0);
    memcpy(at + 8, payload, length);
    return 8 + length;
}

/* Says the result of sending: a filter drops silently, so "sent" says nothing of who heard it. */
static void shout(const char *what, int wire, const unsigned char *frame, size_t length)
{
    tell(what, send(wire, frame, length, 0) < 0 ? "unsent" : "sent", "");
}

static int shout_all(const struct card *card, struct in_addr host, struct in_addr neighbour, const unsigned char *mac)
{
    static const unsigned char everybody[6] = {255, 255, 255, 255, 255, 255};
    unsigned char frame[FRAME], forged[6], offer[260] = {2, 1, 6};
    struct in_addr all = {INADDR_BROADCAST};
    size_t length;
    int wire = listen_to_all(card);

    if (wire < 0) {
        perror("slipway-probe");
        return 1;
    }
    memcpy(forged, card->mac, 6);
    forged[5] ^= 0x55;
    memcpy(offer + 236, (const unsigned char[]){0x63, 0x82, 0x53, 0x63, 53, 1, 2, 255}, 8);

    ethernet(frame, everybody, card->mac, ETH_P_IP);
    length = 14 + ipv4(frame + 14, card->address, all, 17, udp(frame + 34, 67, 68, offer, sizeof offer));
    shout("dhcp_offer", wire, frame, length);
    length = 14 + ipv4(frame + 14, host, all, 17, udp(frame + 34, 67, 68, offer, sizeof offer));
    shout("dhcp_offer_as_host", wire, frame, length);

    length = arp_request(frame, card->mac, host, neighbour);
    shout("arp_as_host", wire, frame, length);
    length = arp_request(frame, forged, card->address, neighbour);
    shout("arp_forged_mac", wire, frame, length);
    length = arp_request(frame, card->mac, card->address, neighbour);
    shout("arp", wire, frame, length);

    ethernet(frame, mac, card->mac, ETH_P_IP);
    length = 14 + ipv4(frame + 14, card->address, neighbour, 17, udp(frame + 34, 5000, 5000, "slipway", 7));
    shout("udp", wire, frame, length);
    length = 14 + ipv4(frame + 14, host, neighbour, 17, udp(frame + 34, 53, 5000, "slipway", 7));
    shout("udp_as_host", wire, frame, length);
    memcpy(frame + 6, forged, 6);
    shout("udp_forged_mac", wire, frame, length);

    memset(frame, 0, sizeof frame);
    ethernet(frame, mac, card->mac, ETH_P_8021Q);
    put16(frame + 14, 1);
    put16(frame + 16, ETH_P_IP);
    length = 18 + ipv4(frame + 18, card->address, neighbour, 17, udp(frame + 38, 5000, 5000, "slipway", 7));
    shout("vlan", wire, frame, length);

    length = icmpv6(frame, card, 1, (const unsigned char[16]){134, [4] = 64}, 16);
    shout("router_advertisement", wire, frame, length);
    close(wire);
    return 0;
}

int main(int count, char **arguments)
{
    struct in_addr host, neighbour, metadata;
    unsigned char mac[6];
    struct card card;

    if (count == 5 && !strcmp(arguments[1], "shout") && inet_aton(arguments[2], &host)
        && inet_aton(arguments[3], &neighbour) && is_mac(arguments[4], mac) && find_card(&card))
        return shout_all(&card, host, neighbour, mac);
    if (count < 3 || !inet_aton(arguments[1], &host) || !inet_aton(arguments[2], &neighbour)) {
        fputs("usage: slipway-probe HOST NEIGHBOUR [PORTS]\n", stderr);
        return 2;
    }
    if (!find_card(&card)) {
        tell("card", "blocked", "there is no card with an address");
        return 0;
    }
    inet_aton("169.254.169.254", &metadata);
    probe_host(host, count > 3 ? arguments[3] : USUAL_PORTS);
    probe_one_port("neighbour_tcp", neighbour, 22);
    probe_one_port("metadata", metadata, 80);
    probe_private();
    probe_frames(&card, arguments[1], host, neighbour);
    return 0;
}
