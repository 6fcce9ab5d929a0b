# shellcheck shell=bash
# How ./dev speaks: one line a step with what it found and how long it took; a failure says what to do next.

if [[ -t 1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
  bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' reset=$'\e[0m'
else
  bold='' dim='' red='' reset=''
fi

ticker_pid=''

say() { printf '%s\n' "$*"; }

# Say what is wrong and what to do about it, then stop.
die() {
  printf '\n%sdev: %s%s\n' "$red" "$1" "$reset" >&2
  [[ -z ${2:-} ]] || printf '  What to do: %s\n' "$2" >&2
  exit 1
}

now_ms() { printf '%s' "$(( ${EPOCHREALTIME/[.,]/} / 1000 ))"; }

seconds_since() {
  local ms=$(( $(now_ms) - $1 ))
  printf '%d.%d s' $(( ms / 1000 )) $(( ms % 1000 / 100 ))
}

# Inside a step: what the line shall say beside the title, and what a failure should advise.
note() { printf '%s' "$*" >"$STEP_NOTE"; }
advise() { printf '%s' "$*" >"$STEP_ADVICE"; }

start_ticker() {
  [[ -t 1 ]] || return 0
  local title=$1 started=$SECONDS
  (
    while sleep 1; do
      printf '\r  %-20s %s%d s%s ' "$title" "$dim" $(( SECONDS - started )) "$reset"
    done
  ) &
  ticker_pid=$!
}

stop_ticker() {
  [[ -n $ticker_pid ]] || return 0
  kill -KILL "$ticker_pid" 2>/dev/null || true # it inherits what we ignore
  wait "$ticker_pid" 2>/dev/null || true
  ticker_pid=''
  printf '\r\e[K'
}

# step TITLE ADVICE COMMAND...: run it with its output in the log; print the title, the note and the time.
# Never call it in a condition: `set -e` would be off inside.
step() {
  local title=$1 advice=$2 started rc from
  shift 2
  : >"$STEP_NOTE"
  printf '%s' "$advice" >"$STEP_ADVICE"
  from=$(wc -l <"$LOG")
  printf '\n=== %s: %s\n' "$(date '+%F %T')" "$title" >>"$LOG"
  started=$(now_ms)
  if [[ -t 1 ]]; then printf '  %-20s ' "$title"; fi
  start_ticker "$title"
  set +e
  ( set -e; "$@" ) >>"$LOG" 2>&1 </dev/null 8>&- # 8 is the lock of ./dev: no daemon may keep it
  rc=$?
  set -e
  stop_ticker
  if (( rc == 0 )); then
    printf '  %-20s %-36s %s%8s%s\n' "$title" "$(<"$STEP_NOTE")" "$dim" "$(seconds_since "$started")" "$reset"
    return 0
  fi
  printf '  %-20s %sfailed%s after %s\n\n' "$title" "$red" "$reset" "$(seconds_since "$started")"
  tail -n "+$(( from + 3 ))" "$LOG" | tail -n 12 | sed 's/^/    /'
  printf '\n  What to do: %s\n  Everything that was said: %s\n' "$(<"$STEP_ADVICE")" "$LOG"
  exit "$rc"
}
