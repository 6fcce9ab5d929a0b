# shellcheck shell=bash
# The machine's libvirt. We start its daemons where nobody else does, and touch nothing in it but our own objects.

libvirt_answers() { timeout 15 virsh -q -c "$LIBVIRT_URI" uri >/dev/null 2>&1; }

# wait_until SECONDS COMMAND...: try until it succeeds or the time is up.
wait_until() {
  local deadline=$(( SECONDS + $1 ))
  shift
  until "$@"; do
    (( SECONDS < deadline )) || return 1
    sleep 0.2
  done
}

# Where no udev runs, /dev/kvm keeps root:root 0600. libvirt, which probes QEMU as root and then looks as QEMU's user, finds
# "KVM was enabled when probing, but it is not available now" and probes again on every single call (0.7 s each, or
# more). So give the device the owner and mode that Debian's udev rule gives it.
settle_kvm_device() {
  [[ -c /dev/kvm && $(stat -c '%U:%G %a' /dev/kvm) == 'root:root 600' ]] || return 0
  getent group kvm >/dev/null || return 0
  chgrp kvm /dev/kvm && chmod 0660 /dev/kvm
}

# A process that moves into a cgroup waits for a grace period of the kernel's, once for each move, and libvirt makes about ten
# of them for each machine that it starts: measured as 8 ms a move, and 0.2 with this option of Linux 6.0 (in exchange forks
# get a little dearer). It counts for all hierarchies, wherever it is set.
favour_dynamic_cgroups() {
  local place
  place=$(findmnt -n -t cgroup2 -o TARGET 2>/dev/null | head -n 1)
  [[ -n $place && $(findmnt -n -o OPTIONS "$place") != *favordynmods* ]] || return 0
  mount -o remount,favordynmods "$place" 2>/dev/null || true # an older kernel, or a container that may not
}

# A daemon of another mount namespace (a test's own hypervisor host) is not ours, and one that died unreaped has none.
runs_here() { pgrep -x --ns $$ --nslist mnt "$1" >/dev/null; }

# Where a service manager runs, /run is memory. Where it is on a disk, libvirt waits for that disk each of the twenty times that
# it notes what a machine which starts is doing. Only while there is nothing to hide: its daemons, the state of a guest or network.
run_in_memory() {
  local folder=/run/libvirt
  [[ $(stat -f -c %T /run) != tmpfs && -z $(find "$folder" -name "*.xml" -print -quit 2>/dev/null) ]] || return 0
  ! runs_here 'libvirtd|virtlogd' || return 0
  mkdir -p "$folder"
  mountpoint -q "$folder" || mount -t tmpfs -o mode=0755,size=64m slipway-run "$folder" 2>/dev/null || true # slower without
}

# Without a service manager: under a subreaper, because a PID 1 that reaps late makes libvirt wait for every QEMU that it
# stops. The subreaper goes when libvirtd goes; guests outlive both. One malloc arena instead of one for each thread: libvirtd
# forks several times for each machine that it starts, and each fork copies the page tables of all of its heap (measured: a
# clone's start took 120 ms with 9 MiB of heap and 160 with the 75 MiB that it had after half an hour).
start_libvirtd() {
  run_in_memory
  runs_here virtlogd || virtlogd -d
  runs_here libvirtd || MALLOC_ARENA_MAX=1 setsid tini -s -- libvirtd >>/var/log/libvirtd.log 2>&1 </dev/null &
}

# One that somebody ends while it starts (what clears up after an earlier login did so once) is started again.
libvirt_came() {
  libvirt_answers && return 0
  [[ -d /run/systemd/system ]] || start_libvirtd
  return 1
}

settle_host() { # what a service manager or its administrator sees to elsewhere
  settle_kvm_device
  favour_dynamic_cgroups
}

ensure_libvirt() {
  if [[ $LIBVIRT_URI != qemu:* || $LIBVIRT_URI == *socket=* ]]; then
    note "left alone ($LIBVIRT_URI)"
    return 0
  fi
  if libvirt_answers; then
    [[ -d /run/systemd/system ]] || settle_host
    note "already running"
    return 0
  fi
  if [[ -d /run/systemd/system ]]; then
    systemctl start libvirtd.service || systemctl start virtqemud.socket virtnetworkd.socket virtstoraged.socket
    note "started by systemd"
  else
    settle_host
    start_libvirtd
    note "started (no service manager here)"
  fi
  wait_until 30 libvirt_came || {
    advise "look at 'virsh -c $LIBVIRT_URI version' and at libvirtd's log, then run ./dev up again."
    virsh -c "$LIBVIRT_URI" version
  }
}
