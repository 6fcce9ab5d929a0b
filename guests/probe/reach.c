/* TCP, UDP and ping, as any program in the guest could try them. All of a probe is tried at once. */
#include "reach.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "frames.h"

#define AT_ONCE 512 /* sockets: a process may have 1,024 files */
#define LENGTH(array) ((int)(sizeof(array) / sizeof *(array)))

static const char *const PRIVATE[] = {"10.0.0.1", "172.16.0.1", "172.17.0.1", "192.168.0.1", "192.168.122.1", "100.64.0.1"};
static const int PRIVATE_PORTS[] = {22, 53, 80, 443};
static const int OTHER_PORTS[] = {22, 53, 80, 111, 443, 2049, 5432, 6379, 8000, 8001, 8080, 16509, 16514};
static const int UDP_PORTS[] = {53, 69, 111, 123, 137, 161, 500, 514, 1900, 2049, 4789, 5353, 5355, 8472};
static const int OTHER_UDP_PORTS[] = {53, 123, 161, 5353};
const char *const USUAL_PORTS = "1-1024,2049,3128,3306,5432,5900-5920,6379,8000-8100,8443,9090,9100,16509,16514,49152";

/* id 0x511b, one question: version.bind TXT CHAOS */
const unsigned char NAME_QUERY[] = "\x51\x1b\0\0\0\1\0\0\0\0\0\0\7version\4bind\0\0\x10\0\3";
const size_t NAME_QUERY_LENGTH = sizeof NAME_QUERY - 1;

enum answer { SILENT, ANSWERED, REFUSED };

struct attempt {
    struct in_addr to;
    int port;
    enum answer answer;
};

/* A socket that leaves by the card, also where there is no way to the address: then it is looked for on the link. */
static int on_card(const struct card *card, int type, int protocol)
{
    char name[IF_NAMESIZE];
    int made = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);

    if (made >= 0 && if_indextoname((unsigned int)card->index, name))
        setsockopt(made, SOL_SOCKET, SO_BINDTODEVICE, name, (socklen_t)strlen(name) + 1);
    return made;
}

static int begin(const struct card *card, int type, const struct attempt *attempt)
{
    struct sockaddr_in where = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)attempt->port), .sin_addr = attempt->to};
    int made = on_card(card, type, 0);

    if (made < 0)
        return -1;
    if ((connect(made, (struct sockaddr *)&where, sizeof where) && errno != EINPROGRESS)
        || (type == SOCK_DGRAM && send(made, NAME_QUERY, NAME_QUERY_LENGTH, 0) < 0)) {
        close(made);
        return -1;
    }
    return made;
}

/* A port answers when it takes or refuses the connection, or sends anything back. */
static enum answer answer_of(int socket, int type)
{
    unsigned char said[512];
    int problem = 0;
    socklen_t size = sizeof problem;

    if (type == SOCK_DGRAM)
        problem = recv(socket, said, sizeof said, 0) < 0 ? errno : 0;
    else
        getsockopt(socket, SOL_SOCKET, SO_ERROR, &problem, &size);
    return problem == 0 ? ANSWERED : problem == ECONNREFUSED ? REFUSED : SILENT;
}

static void try_some(const struct card *card, int type, struct attempt *attempts, int count)
{
    struct pollfd waiting[AT_ONCE];
    long until = now_ms() + WAIT_MS, left;
    int open = count;

    for (int i = 0; i < count; i++)
        waiting[i] = (struct pollfd){begin(card, type, &attempts[i]), type == SOCK_DGRAM ? POLLIN : POLLOUT, 0};
    while (open > 0 && (left = until - now_ms()) > 0 && poll(waiting, (nfds_t)count, (int)left) > 0) {
        for (int i = 0; i < count; i++) {
            if (waiting[i].fd < 0 || !waiting[i].revents)
                continue;
            attempts[i].answer = answer_of(waiting[i].fd, type);
            close(waiting[i].fd);
            waiting[i].fd = -1;
            open--;
        }
    }
    for (int i = 0; i < count; i++)
        if (waiting[i].fd >= 0)
            close(waiting[i].fd);
}

static void try_all(const struct card *card, int type, struct attempt *attempts, int count)
{
    for (int done = 0; done < count; done += AT_ONCE)
        try_some(card, type, attempts + done, count - done < AT_ONCE ? count - done : AT_ONCE);
}

/* Says which ports of one address answered: "22(refused),53". */
static void tell_ports(const char *probe, const struct attempt *attempts, int count)
{
    char found[DETAIL] = "", word[24];

    for (int i = 0; i < count; i++) {
        if (!attempts[i].answer)
            continue;
        snprintf(word, sizeof word, "%d%s", attempts[i].port, attempts[i].answer == REFUSED ? "(refused)" : "");
        add_word(found, word);
    }
    tell_found(probe, found);
}

/* Adds the addresses of which any port answered: "10.0.0.1(tcp)". Those of one address stand together. */
static void add_addresses(char *found, const struct attempt *attempts, int count, const char *kind)
{
    char word[40], last[40] = "";

    for (int i = 0; i < count; i++) {
        if (!attempts[i].answer)
            continue;
        snprintf(word, sizeof word, "%s(%s)", inet_ntoa(attempts[i].to), kind);
        if (strcmp(word, last))
            add_word(found, word);
        strcpy(last, word);
    }
}

static int cross(struct attempt *attempts, const struct in_addr *addresses, int address_count, const int *ports,
    int port_count)
{
    for (int i = 0; i < address_count * port_count; i++)
        attempts[i] = (struct attempt){addresses[i / port_count], ports[i % port_count], SILENT};
    return address_count * port_count;
}

static int parse_ports(const char *list, struct in_addr to, struct attempt *attempts)
{
    char copy[1024], *part, *rest = copy;
    int count = 0;

    snprintf(copy, sizeof copy, "%s", list);
    while ((part = strsep(&rest, ","))) {
        char *dash = strchr(part, '-');
        int first = atoi(part), last = dash ? atoi(dash + 1) : first;

        for (int port = first; port > 0 && port <= last && port < 65536 && count < 65535; port++)
            attempts[count++] = (struct attempt){to, port, SILENT};
    }
    return count;
}

/* Pings all addresses at once; marks those that answer. */
static void ping_all(const struct card *card, struct attempt *attempts, int count)
{
    unsigned char packet[128];
    long until = now_ms() + WAIT_MS, left;
    int raw = on_card(card, SOCK_RAW, IPPROTO_ICMP);

    if (raw < 0)
        return;
    for (int i = 0; i < count; i++) {
        struct sockaddr_in where = {.sin_family = AF_INET, .sin_addr = attempts[i].to};

        sendto(raw, packet, echo_request(packet), 0, (struct sockaddr *)&where, sizeof where);
    }
    while ((left = until - now_ms()) > 0) {
        struct pollfd waiting = {raw, POLLIN, 0};
        struct sockaddr_in from;
        socklen_t size = sizeof from;
        ssize_t length;

        if (poll(&waiting, 1, (int)left) <= 0)
            break;
        length = recvfrom(raw, packet, sizeof packet, 0, (struct sockaddr *)&from, &size);
        for (int i = 0; i < count && length >= 28; i++)
            if (packet[20] == 0 && from.sin_addr.s_addr == attempts[i].to.s_addr)
                attempts[i].answer = ANSWERED;
    }
    close(raw);
}

static void probe_first_host(const struct card *card, struct in_addr host, const char *ports)
{
    static struct attempt attempts[65535];
    int count = parse_ports(ports, host, attempts);

    try_all(card, SOCK_STREAM, attempts, count);
    tell_ports("host_tcp", attempts, count);
    count = cross(attempts, &host, 1, UDP_PORTS, LENGTH(UDP_PORTS));
    try_all(card, SOCK_DGRAM, attempts, count);
    tell_ports("host_udp", attempts, count);
    attempts[0] = (struct attempt){host, 0, SILENT};
    ping_all(card, attempts, 1);
    tell("host_ping", attempts[0].answer ? "open" : "blocked", "");
}

static void probe_other_hosts(const struct card *card, const struct in_addr *hosts, int host_count)
{
    struct attempt attempts[HOSTS * LENGTH(OTHER_PORTS)] = {0};
    char found[DETAIL] = "";
    int count;

    if (host_count == 0) {
        tell("host_others", "untested", "nobody");
        return;
    }
    count = cross(attempts, hosts, host_count, OTHER_PORTS, LENGTH(OTHER_PORTS));
    try_all(card, SOCK_STREAM, attempts, count);
    add_addresses(found, attempts, count, "tcp");
    count = cross(attempts, hosts, host_count, OTHER_UDP_PORTS, LENGTH(OTHER_UDP_PORTS));
    try_all(card, SOCK_DGRAM, attempts, count);
    add_addresses(found, attempts, count, "udp");
    count = cross(attempts, hosts, host_count, (const int[]){0}, 1);
    ping_all(card, attempts, count);
    add_addresses(found, attempts, count, "ping");
    tell_found("host_others", found);
}

static void probe_one_port(const struct card *card, const char *probe, struct in_addr to, int port)
{
    struct attempt attempt = {to, port, SILENT};

    try_all(card, SOCK_STREAM, &attempt, 1);
    tell_ports(probe, &attempt, 1);
}

static void probe_private(const struct card *card)
{
    struct attempt attempts[LENGTH(PRIVATE) * LENGTH(PRIVATE_PORTS)];
    struct in_addr addresses[LENGTH(PRIVATE)];
    char found[DETAIL] = "";
    int count;

    for (int i = 0; i < LENGTH(PRIVATE); i++)
        inet_aton(PRIVATE[i], &addresses[i]);
    count = cross(attempts, addresses, LENGTH(PRIVATE), PRIVATE_PORTS, LENGTH(PRIVATE_PORTS));
    try_all(card, SOCK_STREAM, attempts, count);
    add_addresses(found, attempts, count, "tcp");
    tell_found("private", found);
}

void probe_sockets(const struct card *card, const struct targets *targets, const char *ports)
{
    struct in_addr metadata;

    inet_aton("169.254.169.254", &metadata);
    probe_first_host(card, targets->hosts[0], ports);
    probe_other_hosts(card, targets->hosts + 1, targets->host_count - 1);
    if (targets->has_neighbour)
        probe_one_port(card, "neighbour_tcp", targets->neighbour, 22);
    else
        tell("neighbour_tcp", "untested", "nobody");
    probe_one_port(card, "metadata", metadata, 80);
    probe_private(card);
}
