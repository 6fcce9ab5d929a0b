/* Sends what no guest may send, for a test that listens at the neighbour's end. */
#include "shout.h"

#include <net/ethernet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "frames.h"
#include "probe.h"

/* Says the result of sending: a filter drops silently, so "sent" says nothing of who heard it. */
static void shout(const char *what, int wire, const unsigned char *frame, size_t length)
{
    tell(what, send(wire, frame, length, 0) < 0 ? "unsent" : "sent", "");
}

int shout_all(const struct card *card, struct in_addr host, struct in_addr neighbour, const unsigned char *mac)
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
