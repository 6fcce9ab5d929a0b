# shellcheck shell=bash
# The portal's own processes, kept alive by supervisord. All of it lives under var/; guests are not among them.

supervisorctl() { "$VENV/bin/supervisorctl" -c "$RUN/supervisord.conf" "$@"; }

supervisor_runs() {
  local pid
  pid=$(cat "$RUN/supervisord.pid" 2>/dev/null) && is_our_supervisor "$pid"
}

is_our_supervisor() { # not fooled by a process id that was given again, nor by a zombie that nobody reaps
  tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" | grep -qF "$RUN/supervisord.conf"
}

# program NAME UP_AFTER_SECONDS COMMAND: it ends with supervisord even if that is killed (pdeathsig), so nothing is
# ever left behind that holds a port.
program() {
  cat <<EOF

[program:$1]
command=setpriv --pdeathsig TERM -- $3
directory=$ROOT
autorestart=true
startsecs=$2
startretries=10
stopwaitsecs=10
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile=$LOGS/$1.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=2
EOF
}

# One place for what runs in development; docker-compose.yml has the same commands, one container each.
write_config() {
  local uvicorn=$VENV/bin/uvicorn celery="$VENV/bin/celery --quiet -A portal worker -P threads -l INFO"
  local asgi="--host $HOST --ws websockets-sansio --ws-per-message-deflate false --no-access-log --no-server-header \
--timeout-graceful-shutdown 3 --log-level warning"
  cat >"$RUN/redis.conf" <<EOF
port 0
unixsocket $RUN/redis.sock
unixsocketperm 700
dir $RUN
save ""
appendonly no
maxmemory-policy noeviction
EOF
  {
    cat <<EOF
[unix_http_server]
file=$RUN/supervisor.sock
chmod=0700

[supervisord]
pidfile=$RUN/supervisord.pid
logfile=$LOGS/supervisord.log
logfile_maxbytes=5MB
logfile_backups=1
childlogdir=$LOGS
umask=022
user=root
environment=PYTHONWARNINGS="ignore::UserWarning:celery.platforms"

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://$RUN/supervisor.sock
EOF
    [[ -n ${REDIS_URL:-} ]] || program redis 0 "redis-server $RUN/redis.conf"
    program node-agent 1 "$PYTHON manage.py node_agent"
    program node-worker 3 "$celery -Q node.$NODE -n node@%%h -c 16"
    program worker 3 "$celery -Q default -n default@%%h -c 4 -B -s $RUN/beat-schedule"
    program gateway 1 "$uvicorn console.asgi:application --port $GATEWAY_PORT $asgi --ws console.websocket:ConsoleSocket"
    program web 1 "$uvicorn portal.asgi:application --port $PORT $asgi"
    # one group, so that all are told to stop at the same time; Redis stops after them
    printf '\n[group:slipway]\nprograms=node-agent,node-worker,worker,gateway,web\npriority=999\n'
  } >"$RUN/supervisord.conf.new"
}

# What the running processes were started with: configuration, environment, locked packages.
fingerprint() {
  { cat "$RUN/supervisord.conf.new" "$RUN/redis.conf" "$VENV/.stamp-base"; our_environment; } | sha256sum
}

our_environment() { env | grep -E '^(SLIPWAY_|DATABASE_URL=|REDIS_URL=)' | sort; }

code_changed() {
  [[ ! -f $RUN/started ]] || [[ $(<"$RUN/started") != "$(fingerprint)" ]] ||
    [[ -n $(find "$ROOT"/{portal,accounts,hypervisor,vms,sandboxes,console,locale,static,templates} -newer "$RUN/started" \
      \( -name '*.py' -o -name '*.mo' -o -name '*.html' -o -name '*.css' -o -name '*.js' \) -print -quit 2>/dev/null) ]]
}

port_is_free() { ! (exec 3<>"/dev/tcp/$LOCAL/$1") 2>/dev/null; }

# Before any long work: nobody else may have our ports.
check_ports() {
  if supervisor_runs; then
    note "$PORT and $GATEWAY_PORT are ours"
    return 0
  fi
  check_port portal SLIPWAY_PORT "$PORT"
  check_port gateway SLIPWAY_GATEWAY_PORT "$GATEWAY_PORT"
  note "$PORT and $GATEWAY_PORT are free"
}

check_port() { # check_port WHAT VARIABLE PORT
  wait_until 3 port_is_free "$3" && return 0 # children of a supervisor that was killed may need a moment to go
  local who
  who=$(ss -Hltnp "sport = :$3" 2>/dev/null | sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/\1, process \2/p' | head -n 1)
  advise "choose other ports, such as SLIPWAY_PORT=$(( PORT + 100 )) SLIPWAY_GATEWAY_PORT=$(( PORT + 101 )) ./dev up"
  printf 'Port %s on %s, wanted for the %s (%s), is in use%s.\n' "$3" "$HOST" "$1" "$2" "${who:+ by $who}"
  return 1
}

start_portal() {
  local was=started
  write_config
  if supervisor_runs; then
    if ! code_changed; then
      supervisorctl start all # whatever had given up
      wait_for_portal
      note "already running"
      return 0
    fi
    was='restarted: the code or its settings changed'
    stop_portal
  fi
  check_ports
  mv "$RUN/supervisord.conf.new" "$RUN/supervisord.conf"
  cp "$RUN/supervisord.conf" "$RUN/supervisord.conf.new"
  (umask 077 && fingerprint >"$RUN/started" && our_environment >"$RUN/environment")
  rm -f "$RUN/supervisor.sock"
  setsid "$VENV/bin/supervisord" -c "$RUN/supervisord.conf"
  if ! wait_for_portal; then
    stop_portal # half a portal is of no use
    return 1
  fi
  note "$was"
}

wait_for_portal() {
  advise "look at the log named above (all are in $LOGS), mend it and run ./dev up again."
  "$PYTHON" "$ROOT/scripts/dev/wait_ready.py" "$RUN/supervisor.sock" "http://$LOCAL:$PORT/healthz" "$LOCAL:$GATEWAY_PORT"
}

# Stop the processes and wait until they are gone. Guests keep running.
stop_portal() {
  if ! supervisor_runs; then
    note "was not running"
    return 0
  fi
  local pid
  pid=$(<"$RUN/supervisord.pid")
  supervisorctl shutdown
  wait_until 30 supervisor_is_gone "$pid"
  rm -f "$RUN/started"
  note "stopped"
}

supervisor_is_gone() { ! is_our_supervisor "$1"; }

follow_logs() { exec "$PYTHON" "$ROOT/scripts/dev/follow.py" "$RUN/supervisord.pid" "$LOGS"; }
