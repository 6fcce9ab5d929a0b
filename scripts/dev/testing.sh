# shellcheck shell=bash
# ./dev test and ./dev lint: private PostgreSQL and Redis processes, one pytest run a layer, a plain count at the end.

TEST_HOME='' # a folder that the postgres user may enter; set while tests run
E2E_WAS_RUNNING=''

finish_testing() {
  [[ -n $TEST_HOME ]] || return 0
  local home=$TEST_HOME
  TEST_HOME=''
  if [[ -f $home/redis.pid ]]; then kill "$(<"$home/redis.pid")" 2>/dev/null || true; fi
  if [[ -f $home/postgres/postmaster.pid ]]; then as_postgres pg_ctl -D "$home/postgres" -m immediate -s stop || true; fi
  {
    if [[ -z $E2E_WAS_RUNNING ]]; then wipe_e2e_portal; fi
    "$PYTHON" "$ROOT/scripts/dev/wipe.py" "$SLIPWAY_INSTALLATION_ID" "$LIBVIRT_URI"
    rm -rf "/var/lib/slipway/$SLIPWAY_INSTALLATION_ID"
  } >>"$LOG" 2>&1 || true
  rm -rf "$home"
}

postgres_bin() { find /usr/lib/postgresql -maxdepth 2 -name bin | sort -V | tail -n 1; }

as_postgres() { # as_postgres PROGRAM ARGS: server programs refuse to run as root
  setpriv --reuid postgres --regid postgres --init-groups --reset-env -- \
    "$(postgres_bin)/$1" "${@:2}"
}

start_postgres() {
  local home=$TEST_HOME
  mkdir -p "$home/socket" "$home/postgres"
  chown postgres: "$home/socket" "$home/postgres"
  chmod 0700 "$home/socket" "$home/postgres"
  cd /
  as_postgres initdb -D "$home/postgres" -U slipway -A trust -E UTF8 --no-locale --no-sync
  as_postgres pg_ctl -D "$home/postgres" -w -t 30 -l "$home/socket/log" -o \
    "-c listen_addresses='' -c unix_socket_directories='$home/socket' -c fsync=off -c synchronous_commit=off \
     -c full_page_writes=off -c max_connections=200" start
  psql -q -h "$home/socket" -U slipway -d postgres -c 'create database slipway'
  note "private, UNIX socket only"
}

start_redis() {
  redis-server --port 0 --unixsocket "$TEST_HOME/redis.sock" --unixsocketperm 700 --dir "$TEST_HOME" --save '' \
    --daemonize yes --pidfile "$TEST_HOME/redis.pid" --logfile "$TEST_HOME/redis.log"
  wait_until 10 redis-cli -s "$TEST_HOME/redis.sock" ping
  note "private, UNIX socket only"
}

# The portal that system and end-to-end tests drive: an installation of its own, with its own state and ports.
in_e2e_installation() (
  forget_settings
  port=$(e2e_port)
  export SLIPWAY_VAR_DIR=$ROOT/var/e2e SLIPWAY_PORT=$port SLIPWAY_GATEWAY_PORT=$(( port + 1 ))
  exec "$ROOT/dev" "$@"
)

# Two free ports, kept with that installation, so that several checkouts on a machine can be tested at a time.
e2e_port() {
  local file=$ROOT/var/e2e/port port=18100
  if [[ ! -s $file ]]; then
    until port_is_free "$port" && port_is_free $(( port + 1 )); do port=$(( port + 2 )); done
    mkdir -p "${file%/*}"
    printf '%s\n' "$port" >"$file"
  fi
  cat "$file"
}

# Tests run on the defaults, whatever the developer's portal is set to.
forget_settings() {
  local name
  for name in $(compgen -e SLIPWAY_) DATABASE_URL REDIS_URL; do
    [[ $name =~ ^SLIPWAY_(VENV|VIRT_TYPE)$ ]] || unset "$name"
  done
  export DEV_WITHOUT_ENV_FILE=1
}

e2e_portal_runs() { [[ -d $ROOT/var/e2e ]] && in_e2e_installation status >/dev/null 2>&1; }

wipe_e2e_portal() {
  [[ -d $ROOT/var/e2e ]] || return 0
  local id=$ROOT/var/e2e/installation_id
  if [[ -s $id ]]; then in_e2e_installation down --wipe "--yes=$(<"$id")"; fi
  rm -rf "$ROOT/var/e2e"
}

start_fresh_e2e_portal() {
  wipe_e2e_portal # of an earlier run
  in_e2e_installation up -d
  note "http://127.0.0.1:$(e2e_port)"
}

# Not in the list of commands: tests that are run without ./dev test call it.
cmd_e2e_portal() {
  case ${1:-} in
    up) in_e2e_installation up -d ;;
    down) wipe_e2e_portal ;;
    *) die "e2e-portal takes up or down." ;;
  esac
}

prepare_tests() {
  step "System packages" "check the network and 'apt-get update', then run this again." \
    install_packages "${UP_PACKAGES[@]}" "${TEST_PACKAGES[@]}"
  step "Python packages" "check that pip reaches its index, then run this again." ensure_venv test
  step "Texts" "mend the file named above." compile_messages
}

start_test_services() {
  TEST_HOME=$(mktemp -d /tmp/slipway-test.XXXXXX)
  chmod 0711 "$TEST_HOME"
  step "libvirt" "'virsh -c $LIBVIRT_URI version' must answer." ensure_libvirt
  step "PostgreSQL" "look at the lines above." start_postgres
  step "Redis" "look at the lines above." start_redis
  forget_settings
  # an installation of its own for everything that tests make; the developer's portal may go on running
  SLIPWAY_INSTALLATION_ID=$(od -An -N4 -tx1 /dev/urandom | tr -d ' \n')
  export SLIPWAY_INSTALLATION_ID SLIPWAY_VAR_DIR=$VAR/test REDIS_URL=unix://$TEST_HOME/redis.sock
  export SLIPWAY_TEST_POSTGRES_URL="postgres://slipway@/slipway?host=$TEST_HOME/socket"
  export SLIPWAY_TEST_REDIS_URL="unix://$TEST_HOME/redis.sock"
  export SLIPWAY_TEST_IMAGES=$ROOT/var/cache/images
}

pytest() { "$PYTHON" -m pytest "$@"; }

# suite NAME PYTEST_ARGS...: one layer, with its own count; a failure does not keep the others from running.
suite() {
  local name=$1 results=$VAR/test
  shift
  mkdir -p "$results"
  printf '\n%s%s%s\n' "$bold" "$name" "$reset"
  rm -f "$results/$name.xml"
  pytest -q --junit-xml="$results/$name.xml" -o junit_suite_name="$name" "$@" || FAILED_SUITES+=("$name")
  "$PYTHON" "$ROOT/scripts/dev/report.py" "$ROOT/tests/allowed_skips.txt" "$results/$name.xml" || FAILED_SUITES+=("$name")
  REPORTS+=("$results/$name.xml")
}

SHORT='short and not long and not nightly' # fault tests of the usual run

run_all_suites() {
  FAILED_SUITES=() REPORTS=()
  local usual=(-m 'not faults and not nightly')
  suite unit "${usual[@]}" tests/unit
  suite cli "${usual[@]}" cli/tests
  suite portal-sqlite "${usual[@]}" -n 2 tests/portal
  # without what generates requests from the schema: minutes that tell nothing of a database
  DATABASE_URL=$SLIPWAY_TEST_POSTGRES_URL suite portal-postgresql "${usual[@]}" -n 2 tests/portal \
    --ignore=tests/portal/test_api_schemathesis.py
  suite simulation "${usual[@]}" -n 2 tests/simulation
  suite contract "${usual[@]}" -n 2 --dist loadfile tests/contract
  suite system "${usual[@]}" -n 2 --dist loadfile tests/system # two, because they wait for guests
  suite e2e "${usual[@]}" tests/e2e
  suite faults -m "$SHORT" -n 3 --dist loadfile tests/faults # three, because they wait for leases and outages
}

# All of tests/ in one collection: what single suites cannot show (two files of one name) fails here.
say_what_was_left_out() {
  local found
  found=$(pytest -q --collect-only -m "nightly or faults and not ($SHORT)" tests 2>&1) || {
    printf '\nWhat was left out cannot be counted:\n%s\n' "$found"
    FAILED_SUITES+=(collection)
    return 0
  }
  printf '\nLeft out: %s tests marked faults or nightly (./dev test -m "faults or nightly").\n' \
    "$(grep -c '::' <<<"$found" || true)"
}

cmd_test() {
  cd "$ROOT"
  prepare_tests
  start_test_services
  step "Image micro" "look at the lines above, then run ./dev image micro." build_image micro
  if (( $# )); then
    if e2e_portal_runs; then E2E_WAS_RUNNING=1; fi # then it stays
    pytest "$@"
    return 0
  fi
  step "Portal for e2e" "look at the lines above." start_fresh_e2e_portal
  export SLIPWAY_E2E_URL="http://127.0.0.1:$(<"$ROOT/var/e2e/port")" SLIPWAY_E2E_VAR=$ROOT/var/e2e
  run_all_suites
  say_what_was_left_out
  local failed=0
  if (( ${#FAILED_SUITES[@]} )); then
    failed=1
    printf '%sFailed:%s %s\n' "$red" "$reset" "$(printf '%s\n' "${FAILED_SUITES[@]}" | sort -u | paste -sd' ')"
  fi
  "$PYTHON" "$ROOT/scripts/dev/report.py" --total "${REPORTS[@]}"
  return "$failed"
}

lint_shell() {
  shellcheck -x dev .ci/run # -x: with the parts that dev sources
  # every other shell script of ours
  git -c safe.directory="$ROOT" grep -lIE '^#!(/usr/bin/env (ba)?sh|/bin/(ba)?sh)' -- guests scripts | xargs -r shellcheck --severity=warning --exclude=SC2154 # udhcpc and the like set variables for a guest's scripts
}

check_migrations() { DATABASE_URL=sqlite://:memory: manage makemigrations --check --dry-run; }

# lint_step NAME COMMAND: all of them run, also after one that failed, with their output shown.
lint_step() {
  local started output
  started=$(now_ms)
  if output=$("${@:2}" 2>&1); then
    printf '  %-20s ok %s%8s%s\n' "$1" "$dim" "$(seconds_since "$started")" "$reset"
  else
    printf '  %-20s %sfailed%s\n%s\n\n' "$1" "$red" "$reset" "$output"
    LINT_FAILED+=("$1")
  fi
}

cmd_lint() {
  cd "$ROOT"
  prepare_tests
  LINT_FAILED=()
  local bin=$VENV/bin
  lint_step "ruff" "$bin/ruff" check --quiet .
  lint_step "ruff format" "$bin/ruff" format --check --quiet .
  lint_step "mypy" "$PYTHON" -m mypy --no-incremental # its cache misses changes of the settings
  lint_step "djlint" "$bin/djlint" --lint --quiet templates
  lint_step "import-linter" "$bin/lint-imports" --no-cache
  lint_step "migrations" check_migrations
  lint_step "shellcheck" lint_shell
  lint_step "lock files" check_locks
  (( ${#LINT_FAILED[@]} == 0 )) || die "lint: ${LINT_FAILED[*]}" "mend the lines above; ruff check --fix and ruff format do much of it."
}
