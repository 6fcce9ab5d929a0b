/*
 * Tries to get out of a sandbox, and says what it could not do. Run inside the guest, by root, by the isolation report.
 *
 *   slipway-probe HOST[,OTHER...] NEIGHBOUR[,MAC]|- [PORTS]
 *   slipway-probe shout HOST NEIGHBOUR NEIGHBOURS_MAC
 *
 * The first tries and says what came back; the second only sends, for a test that listens at the neighbour's end.
 *
 * HOST is the bridge's address (the gateway), or any of the host's where it has none on this network; OTHER are further
 * ones of the same host. NEIGHBOUR is another guest's on the same bridge, "-" where there is none. PORTS is a list like
 * "22,53,8000-8010" of the host's TCP ports. One line a probe on stdout, "NAME RESULT DETAIL":
 *
 *   host_tcp       a TCP connection to one of PORTS of the host; DETAIL: the ports that answered
 *   host_udp, host_ping   a datagram to usual ports, an echo request
 *   host_others    the same by the host's other addresses, a few ports each; DETAIL: the addresses that answered
 *   host_arp       an ARP request for addresses of the host that are not on this network
 *   host_ipv6      any answer by IPv6: to all on the link, or from the link's address that the host's MAC gives
 *   neighbour_ping, neighbour_arp, neighbour_tcp   any answer of the neighbour
 *   metadata       a TCP connection to 169.254.169.254, port 80
 *   private        a TCP connection to a few addresses of the private ranges
 *   forged_mac     an ARP request of another MAC than ours that somebody answered
 *   forged_ip      a packet with another source address than ours that made somebody look for that address
 *   dhcp           a datagram from a DHCP server's port that was answered, by the name server or the neighbour
 *   router         an IPv6 router solicitation that somebody answered
 *
 * Where there is no card to send by, the only line is "card blocked".
 *
 * RESULT: "blocked" nothing came back, "open" something did, "untested" it could not be tried: DETAIL says why, "nobody"
 * where nobody is there who would have answered.
 */
#define _GNU_SOURCE
#include "probe.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "forged.h"
#include "frames.h"
#include "reach.h"
#include "shout.h"

long now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000L + now.tv_nsec / 1000000L;
}

void tell(const char *probe, const char *result, const char *detail)
{
    printf("%s %s%s%s\n", probe, result, *detail ? " " : "", detail);
    fflush(stdout);
}

void tell_found(const char *probe, const char *found)
{
    tell(probe, *found ? "open" : "blocked", found);
}

void add_word(char *detail, const char *word)
{
    size_t used = strlen(detail);

    if (used + strlen(word) + 2 < DETAIL)
        snprintf(detail + used, DETAIL - used, "%s%s", used ? "," : "", word);
}

static int parse_hosts(const char *list, struct targets *targets)
{
    char copy[1024], *part, *rest = copy;

    snprintf(copy, sizeof copy, "%s", list);
    while ((part = strsep(&rest, ",")) && targets->host_count < HOSTS)
        if (!inet_aton(part, &targets->hosts[targets->host_count++]))
            return 0;
    return 1;
}

static int parse_neighbour(const char *word, struct targets *targets)
{
    char copy[64], *mac;

    memset(targets->neighbours_mac, 255, 6);
    if (!strcmp(word, "-"))
        return 1;
    snprintf(copy, sizeof copy, "%s", word);
    if ((mac = strchr(copy, ',')))
        *mac++ = 0;
    targets->has_neighbour = 1;
    targets->has_mac = mac != NULL;
    return inet_aton(copy, &targets->neighbour) && (!mac || is_mac(mac, targets->neighbours_mac));
}

int main(int count, char **arguments)
{
    struct in_addr host, neighbour;
    struct targets targets = {0};
    unsigned char mac[6];
    struct card card;

    if (count == 5 && !strcmp(arguments[1], "shout") && inet_aton(arguments[2], &host)
        && inet_aton(arguments[3], &neighbour) && is_mac(arguments[4], mac) && find_card(&card))
        return shout_all(&card, host, neighbour, mac);
    if (count < 3 || !parse_hosts(arguments[1], &targets) || !parse_neighbour(arguments[2], &targets)) {
        fputs("usage: slipway-probe HOST[,OTHER...] NEIGHBOUR[,MAC]|- [PORTS]\n", stderr);
        return 2;
    }
    if (!find_card(&card)) {
        tell("card", "blocked", "there is no card with an address");
        return 0;
    }
    if (!card.plugged) {
        tell("card", "blocked", "it is unplugged");
        return 0;
    }
    probe_sockets(&card, &targets, count > 3 ? arguments[3] : USUAL_PORTS);
    probe_frames(&card, &targets);
    return 0;
}
