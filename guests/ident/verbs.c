/* What the lines of a request do; see ident.c. Each function returns 0 or an errno value. */
#define _GNU_SOURCE
#include "verbs.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "files.h"
#include "keys.h"

#define SEED_BYTES_MIN 64
#define SEED_BYTES_MAX 512
#define HOSTS "/etc/hosts"
#define HOSTS_BYTES_MAX 8192
#define OWN_ADDRESS "127.0.1.1"
#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_FILE "/run/slipway-boot-id"
#define PRODUCT_UUID "/sys/class/dmi/id/product_uuid"
#define PRODUCT_UUID_FILE "/run/slipway-product-uuid"

static int set_seed(char *value)
{
    struct {
        struct rand_pool_info info;
        uint8_t bytes[SEED_BYTES_MAX];
    } pool;
    ssize_t length = from_hex(value, (uint8_t *)pool.info.buf, SEED_BYTES_MAX);
    int device, result = 0;

    if (length < SEED_BYTES_MIN)
        return EINVAL;
    pool.info.entropy_count = (int)length * 8;
    pool.info.buf_size = (int)length;
    device = open("/dev/urandom", O_RDWR | O_CLOEXEC);
    if (device < 0)
        return errno;
    /* Without the second call the generator would go on with the template's key for up to a minute. */
    if (ioctl(device, RNDADDENTROPY, &pool) || ioctl(device, RNDRESEEDCRNG, 0))
        result = errno;
    close(device);
    explicit_bzero(&pool, sizeof pool);
    return result;
}

/* The Ethernet interface with the lowest number. */
static int find_interface(int sock, struct ifreq *request)
{
    struct if_nameindex *all = if_nameindex();
    unsigned lowest = 0;

    memset(request, 0, sizeof *request);
    for (struct if_nameindex *one = all; one && one->if_index; one++) {
        struct ifreq probe = {0};
        strncpy(probe.ifr_name, one->if_name, IFNAMSIZ - 1);
        if (ioctl(sock, SIOCGIFHWADDR, &probe) || probe.ifr_hwaddr.sa_family != ARPHRD_ETHER)
            continue;
        if (!lowest || one->if_index < lowest) {
            lowest = one->if_index;
            memcpy(request->ifr_name, probe.ifr_name, IFNAMSIZ);
        }
    }
    if_freenameindex(all);
    return lowest ? 0 : ENODEV;
}

static void put_address(struct sockaddr *place, struct in_addr address)
{
    struct sockaddr_in *in = (struct sockaddr_in *)place;

    memset(in, 0, sizeof *in);
    in->sin_family = AF_INET;
    in->sin_addr = address;
}

/* The interface stays up: virtio cards take a new MAC while running. A route lives only while the address does. */
static int apply_net(int sock, const uint8_t mac[6], struct in_addr address, unsigned bits, struct in_addr gateway)
{
    struct ifreq request;
    struct rtentry route = {0};
    struct in_addr mask = {htonl(bits ? ~0U << (32 - bits) : 0)}, any = {0};
    int result = find_interface(sock, &request);

    if (result)
        return result;
    request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
    memcpy(request.ifr_hwaddr.sa_data, mac, 6);
    if (ioctl(sock, SIOCSIFHWADDR, &request))
        return errno;
    put_address(&request.ifr_addr, address);
    if (ioctl(sock, SIOCSIFADDR, &request))
        return errno;
    put_address(&request.ifr_netmask, mask);
    if (ioctl(sock, SIOCSIFNETMASK, &request) || ioctl(sock, SIOCGIFFLAGS, &request))
        return errno;
    request.ifr_flags |= IFF_UP;
    if (ioctl(sock, SIOCSIFFLAGS, &request))
        return errno;
    if (!gateway.s_addr)
        return 0;
    put_address(&route.rt_dst, any);
    put_address(&route.rt_genmask, any);
    put_address(&route.rt_gateway, gateway);
    route.rt_flags = RTF_UP | RTF_GATEWAY;
    return ioctl(sock, SIOCADDRT, &route) && errno != EEXIST ? errno : 0;
}

static int set_net(char *value)
{
    uint8_t mac[6];
    char address_text[16], gateway_text[16];
    struct in_addr address, gateway;
    unsigned bits;
    int sock, result;

    if (sscanf(value, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx %15[0-9.]/%u %15[0-9.]", &mac[0], &mac[1], &mac[2], &mac[3],
               &mac[4], &mac[5], address_text, &bits, gateway_text) != 9)
        return EINVAL;
    if (bits > 32 || !inet_aton(address_text, &address) || !inet_aton(gateway_text, &gateway))
        return EINVAL;
    sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (sock < 0)
        return errno;
    result = apply_net(sock, mac, address, bits, gateway);
    close(sock);
    return result;
}

/*
 * Puts the name beside 127.0.1.1, where Debian keeps it, and leaves a file without such a line as it is. A shell and sed
 * would have to be read from disk first, which takes an emulated machine a second.
 */
static int name_in_hosts(const char *name)
{
    static char old[HOSTS_BYTES_MAX], fresh[HOSTS_BYTES_MAX + 80];
    size_t length = 0, named = 0;
    ssize_t count;
    int file = open(HOSTS, O_RDONLY | O_CLOEXEC);

    if (file < 0)
        return errno == ENOENT ? 0 : errno;
    count = read(file, old, sizeof old - 1);
    close(file);
    if (count <= 0 || count == sizeof old - 1)
        return 0; /* empty, or too long to be ours to change */
    old[count] = '\0';
    for (char *line = old, *next; *line; line = next) {
        next = strchr(line, '\n');
        next = next ? next + 1 : line + strlen(line);
        if (!strncmp(line, OWN_ADDRESS, strlen(OWN_ADDRESS)) && strchr(" \t", line[strlen(OWN_ADDRESS)])) {
            if (!named++)
                length += (size_t)sprintf(fresh + length, OWN_ADDRESS " %s\n", name);
        } else {
            memcpy(fresh + length, line, (size_t)(next - line));
            length += (size_t)(next - line);
        }
    }
    return named ? write_file(HOSTS, fresh, length, 0644) : 0;
}

static int set_hostname(char *value)
{
    char line[80];
    size_t length = strlen(value);
    int result;

    if (!length || length > 63)
        return EINVAL;
    if (sethostname(value, length))
        return errno;
    snprintf(line, sizeof line, "%s\n", value);
    result = write_file("/etc/hostname", line, length + 1, 0644);
    return result ? result : name_in_hosts(value);
}

static int set_clock(char *value)
{
    long long seconds;
    long nanoseconds;
    struct timespec now;

    if (sscanf(value, "%lld.%9ld", &seconds, &nanoseconds) != 2)
        return EINVAL;
    now.tv_sec = seconds;
    now.tv_nsec = nanoseconds;
    return clock_settime(CLOCK_REALTIME, &now) ? errno : 0;
}

/* Lets whoever reads one of the kernel's files read another one with this UUID, mounted over it as container managers do. */
static int show_uuid(const char *value, const char *shown, const char *file, mode_t mode)
{
    char line[40];
    int result;

    if (strlen(value) != 36 || strspn(value, "0123456789abcdef-") != 36)
        return EINVAL;
    while (!umount2(shown, MNT_DETACH))
        ;
    snprintf(line, sizeof line, "%s\n", value);
    result = write_file(file, line, 37, mode);
    if (!result && (mount(file, shown, NULL, MS_BIND, NULL) ||
                    mount(NULL, shown, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL)))
        result = errno;
    return result;
}

/* The kernel makes its boot id once and has no call to change it; it does not use it itself. */
static int set_boot_id(char *value)
{
    return show_uuid(value, BOOT_ID, BOOT_ID_FILE, 0444);
}

/* The firmware's tables are the template's until the machine boots. The kernel lets root alone read this of them. */
static int set_uuid(char *value)
{
    return show_uuid(value, PRODUCT_UUID, PRODUCT_UUID_FILE, 0400);
}

static int set_machine_id(char *value)
{
    char line[34];

    if (strlen(value) != 32 || strspn(value, "0123456789abcdef") != 32)
        return EINVAL;
    snprintf(line, sizeof line, "%s\n", value);
    return write_file("/etc/machine-id", line, 33, 0444);
}

static const struct {
    const char *key;
    int (*apply)(char *value);
} verbs[] = {
    {"seed", set_seed},         {"forget_keys", forget_keys}, {"ssh_key", set_ssh_key}, {"machine_id", set_machine_id},
    {"hostname", set_hostname}, {"clock", set_clock},         {"boot_id", set_boot_id}, {"uuid", set_uuid},
    {"net", set_net},
};

int apply_verb(const char *key, char *value)
{
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (!strcmp(key, verbs[i].key))
            return verbs[i].apply(value);
    return ENOSYS;
}
