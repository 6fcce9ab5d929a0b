# shellcheck shell=bash
# Where things are, who we are, and the variables that every command of ./dev sees.

# Everything that ./dev does to a machine (packages, libvirt, QEMU's files) needs root: ask for it once, at the start.
become_root() {
  (( EUID != 0 )) || return 0
  command -v sudo >/dev/null || die "this needs root, and there is no sudo." "become root (su -), then run $0 $* again."
  local keep
  keep=$(kept_for_root)
  exec sudo ${keep:+--preserve-env="$keep"} -- "$ROOT/dev" "$@"
}

# The names of the variables that sudo has to let through, with commas between.
kept_for_root() {
  compgen -e |
    grep -E '^(SLIPWAY_|SIMULATION_|PIP_|UV_|DATABASE_URL$|REDIS_URL$|NO_COLOR$|CI$|[a-z]+_proxy$|[A-Z]+_PROXY$)' |
    paste -sd, || true
}

# Take over the NAME=value lines of a file; what is set already wins.
load_env_file() {
  [[ -f $1 ]] || return 0
  local line name value
  while IFS= read -r line || [[ -n $line ]]; do
    [[ $line =~ ^[[:space:]]*([A-Za-z_][A-Za-z0-9_]*)=(.*)$ ]] || continue
    name=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]}
    if [[ $value =~ ^\"(.*)\"$ || $value =~ ^\'(.*)\'$ ]]; then value=${BASH_REMATCH[1]}; fi
    [[ -n ${!name:-} ]] || export "$name=$value"
  done <"$1"
}

# Eight hex digits that stand in every name we give to libvirt, the network and the disk; made once.
installation_id() {
  local file=$VAR/installation_id made
  if [[ ! -s $file ]]; then
    made=$(od -An -N4 -tx1 /dev/urandom | tr -d ' \n')
    (umask 077 && printf '%s\n' "$made" >"$file.$$")
    ln "$file.$$" "$file" 2>/dev/null || true # the first of several wins
    rm -f "$file.$$"
  fi
  cat "$file"
}

prepare_state() {
  [[ -n ${DEV_WITHOUT_ENV_FILE:-} ]] || load_env_file "$ROOT/.env" # as Compose does
  VAR=${SLIPWAY_VAR_DIR:-$ROOT/var}
  mkdir -p "$VAR"
  VAR=$(cd "$VAR" && pwd)
  RUN=$VAR/run LOGS=$VAR/log
  if supervisor_runs; then load_env_file "$RUN/environment"; fi # what runs was started with this
  [[ $ROOT$VAR =~ ^[A-Za-z0-9/._+@=,~-]+$ ]] || die "the path $ROOT has blanks or signs that configuration files give a meaning." \
    "move this checkout to a path of letters, digits, '-', '_' and '.'."
  mkdir -p "$VAR/cache" "$LOGS" "$RUN"
  chmod 0700 "$RUN"
  (( ${#RUN} <= 85 )) || die "the path $RUN is too long for a UNIX socket." \
    "set SLIPWAY_VAR_DIR to a short folder such as /var/tmp/slipway, or move this checkout."
  VENV=${SLIPWAY_VENV:-$ROOT/var/venv}
  PYTHON=$VENV/bin/python
  LOG=$LOGS/dev.log STEP_NOTE=$RUN/step.note.$$ STEP_ADVICE=$RUN/step.advice.$$
  if [[ -f $LOG && $(stat -c %s "$LOG") -gt 5000000 ]]; then mv "$LOG" "$LOG.1"; fi
  touch "$LOG"

  SLIPWAY_INSTALLATION_ID=${SLIPWAY_INSTALLATION_ID:-$(installation_id)}
  [[ $SLIPWAY_INSTALLATION_ID =~ ^[0-9a-f]{8}$ ]] ||
    die "the installation id '$SLIPWAY_INSTALLATION_ID' is not 8 hex digits." "delete $VAR/installation_id or set SLIPWAY_INSTALLATION_ID."
  DATA=${SLIPWAY_DATA_DIR:-/var/lib/slipway/$SLIPWAY_INSTALLATION_ID}
  HOST=${SLIPWAY_HOST:-127.0.0.1} PORT=${SLIPWAY_PORT:-8000} GATEWAY_PORT=${SLIPWAY_GATEWAY_PORT:-8001}
  LOCAL=${HOST/0.0.0.0/127.0.0.1} # where this machine itself reaches the portal
  NODE=${SLIPWAY_NODE_NAME:-$(uname -n)}
  NODE=${NODE%%.*} NODE=${NODE,,}
  LIBVIRT_URI=${SLIPWAY_LIBVIRT_URI:-qemu:///system}
  URL=${SLIPWAY_PORTAL_URL:-http://$HOST:$PORT}
  export SLIPWAY_INSTALLATION_ID SLIPWAY_VAR_DIR=$VAR SLIPWAY_NODE_NAME=$NODE
  # compiled files are kept, or every process would compile everything anew; root's stay out of the source folders
  export PYTHONPYCACHEPREFIX=$ROOT/var/cache/pycache PYTHONDONTWRITEBYTECODE=
  export DJANGO_SETTINGS_MODULE=portal.settings PYTHONUNBUFFERED=1
}

manage() { "$PYTHON" "$ROOT/manage.py" "$@"; }
