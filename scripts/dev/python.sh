# shellcheck shell=bash
# The virtualenv, made from the locks (every file checked by its hash), and the locks themselves.

SYSTEM_PYTHON=/usr/bin/python3

stanza() { # stanza PACKAGE LOCK: its lines, hashes included
  awk -v name="$1==" 'index($0, name) == 1 { on = 1 } on { print } on && !/\\$/ { exit }' "$2"
}

# What a lock's environment depends on; an environment for tests serves running as well.
venv_stamp() { printf '%s %s' "$("$SYSTEM_PYTHON" -V)" "$(sha256sum <"$ROOT/requirements/$1.txt")"; }

# ensure_venv base|test: made on the first call, brought up to the lock whenever the lock has changed.
ensure_venv() {
  local want stamp=$VENV/.stamp-$1
  "$SYSTEM_PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    { advise "Slipway needs Python 3.11 or newer as $SYSTEM_PYTHON: use Debian 12 or Ubuntu 24.04."; return 1; }
  want=$(venv_stamp "$1")
  if [[ -x $PYTHON && -f $stamp && $(<"$stamp") == "$want" ]]; then
    note "up to date"
    return 0
  fi
  mkdir -p "$VAR/cache"
  (
    flock 9 # several commands at once: one builds, the others find it done
    [[ -f $stamp && $(<"$stamp") == "$want" ]] && exit 0
    if ! "$PYTHON" -c 'import pip' 2>/dev/null || [[ $("$PYTHON" -V) != "$("$SYSTEM_PYTHON" -V)" ]]; then
      rm -rf "$VENV"
      "$SYSTEM_PYTHON" -m venv "$VENV"
    fi
    rm -f "$VENV"/.stamp-*
    install_lock "$1"
    venv_stamp base >"$VENV/.stamp-base"
    printf '%s' "$want" >"$stamp"
  ) 9>"$ROOT/var/cache/venv.lock"
  note "$(grep -c '==' "$ROOT/requirements/$1.txt") packages, hashes checked"
}

# libvirt-python is the one package that is compiled, against this machine's libvirt: with the locked setuptools, not
# with one that pip would fetch unhashed. Compiled files are made on first use, in var/cache.
install_lock() {
  local lock=$ROOT/requirements/$1.txt pip=("$PYTHON" -m pip install --no-input --no-compile --require-hashes)
  stanza setuptools "$lock" >"$VENV/setuptools.txt"
  "${pip[@]}" -r "$VENV/setuptools.txt"
  "${pip[@]}" --no-build-isolation --only-binary :all: --no-binary libvirt-python -r "$lock"
}

# Resolve requirements/*.in again. The index comes from the machine's settings and never enters the file.
lock_requirements() {
  local compile=("$VENV/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate
    --no-emit-index-url --no-emit-find-links --custom-compile-command './dev lock' "$@")
  cd "$ROOT/requirements"
  "${compile[@]}" base.in -o base.txt
  "${compile[@]}" test.in -c base.txt -o test.txt
  check_locks
}

# No lock names the place that it was made at.
check_locks() {
  if grep -nE '://|^--?(index|extra-index|find-links|trusted)|(^| )/' "$ROOT"/requirements/*.txt; then
    printf 'A lock file names a host or a folder: make it with ./dev lock.\n'
    return 1
  fi
}
