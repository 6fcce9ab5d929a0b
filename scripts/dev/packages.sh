# shellcheck shell=bash
# Debian packages: one question to dpkg, one call of apt for what is missing.

# what the portal, the hypervisor and the image builder run on
UP_PACKAGES=(
  ca-certificates gcc gettext iproute2 libc6-dev pkg-config procps python3 python3-dev python3-venv tini util-linux
  dnsmasq-base ebtables iptables libvirt-clients libvirt-daemon libvirt-daemon-driver-qemu libvirt-daemon-system libvirt-dev
  nftables
  qemu-system-x86 qemu-utils redis-server
  busybox-static cpio e2fsprogs extlinux fdisk kmod mmdebstrap openssl syslinux-common xz-utils zstd
)
TEST_PACKAGES=(chromium fonts-dejavu-core openssh-client postgresql shellcheck)

missing_packages() {
  local -A there=()
  local name
  while read -r name; do there[${name%%:*}]=1; done < <(
    dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null | sed -n 's/^installed //p'
  )
  for name in "$@"; do [[ -n ${there[$name]:-} ]] || printf '%s\n' "$name"; done
}

# Debian starts a service when its package arrives. We bring our own Redis and PostgreSQL processes, so those two are
# told to stay off for the length of this call; a rule that the machine already has is left alone.
with_quiet_services() (
  local policy=/usr/sbin/policy-rc.d
  if [[ ! -e $policy && ! -L $policy ]]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM HUP
    # shellcheck disable=SC2016
    printf '#!/bin/sh\ncase "$1" in redis*|postgresql*) exit 101 ;; esac\nexit 0\n' >"$policy"
    chmod 0755 "$policy"
  fi
  "$@"
)

apt() {
  DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"
}

# install_packages NAME...: only what is missing; the lists are fetched again when they are absent or out of date.
install_packages() {
  local missing
  command -v apt-get >/dev/null || { advise "use Debian 12 or Ubuntu 24.04: ./dev installs with apt."; return 1; }
  mapfile -t missing < <(missing_packages "$@")
  if (( ${#missing[@]} == 0 )); then
    note "all there"
    return 0
  fi
  printf 'missing: %s\n' "${missing[*]}"
  if ! apt-get install -s -q "${missing[@]}" >/dev/null 2>&1; then apt update; fi
  if ! with_quiet_services apt install --no-install-recommends "${missing[@]}"; then
    apt update
    with_quiet_services apt install --no-install-recommends "${missing[@]}"
  fi
  note "${#missing[@]} installed"
}
