# shellcheck shell=bash
# The machine's libvirt. We start its daemons where nobody else does, and touch nothing in it but our own objects.

libvirt_answers() { timeout 15 virsh -q -c "$LIBVIRT_URI" version >/dev/null 2>&1; }

# wait_until SECONDS COMMAND...: try until it succeeds or the time is up.
wait_until() {
  local deadline=$(( SECONDS + $1 ))
  shift
  until "$@"; do
    (( SECONDS < deadline )) || return 1
    sleep 0.2
  done
}

ensure_libvirt() {
  if [[ $LIBVIRT_URI != qemu:* || $LIBVIRT_URI == *socket=* ]]; then
    note "left alone ($LIBVIRT_URI)"
    return 0
  fi
  if libvirt_answers; then
    note "already running"
    return 0
  fi
  if [[ -d /run/systemd/system ]]; then
    systemctl start libvirtd.service || systemctl start virtqemud.socket virtnetworkd.socket virtstoraged.socket
    note "started by systemd"
  else
    pgrep -x virtlogd >/dev/null || virtlogd -d
    pgrep -x libvirtd >/dev/null || libvirtd -d
    note "started (no service manager here)"
  fi
  wait_until 30 libvirt_answers || {
    advise "look at 'virsh -c $LIBVIRT_URI version' and at libvirtd's log, then run ./dev up again."
    virsh -c "$LIBVIRT_URI" version
  }
}
