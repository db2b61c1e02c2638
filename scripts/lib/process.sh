# shellcheck shell=bash
# Starting, recognising, awaiting and stopping one background process. A pid file holds the pid and
# the start time of the process; both, and its working directory, must fit before it is signalled.

# The start time in clock ticks since boot; empty when there is no such process.
born() {
  local line fields
  { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 0
  # The name in parentheses may hold spaces, so the fields are counted from behind it.
  read -ra fields <<<"${line##*) }"
  printf '%s' "${fields[19]}"
}

# Prints the pid of the running process; prints nothing when it does not run. A pid that was given
# to another program since, and a pid file copied along with the checkout, are not taken for ours.
# A zombie has no working directory and so does not count as running either.
pid_of() {
  local pid='' start=''
  [[ ! -s $RUN/$1.pid ]] || read -r pid start <"$RUN/$1.pid"
  if [[ -n $pid && $(born "$pid") == "$start" && $(readlink "/proc/$pid/cwd") == "$(dir_of "$1")" ]]; then
    printf '%s' "$pid"
  fi
}

is_running() { [[ -n $(pid_of "$1") ]]; }

# start_process NAME COMMAND…: in the background, in a session of its own, so that neither Ctrl-C
# nor the end of the terminal reaches it.
start_process() {
  local name=$1 log pid
  shift
  log=$(log_of "$name")
  [[ ! -f $log ]] || mv -f "$log" "$log.1"
  (
    cd "$(dir_of "$name")" || exit
    # Kafka and Redis want more open files than the usual soft limit of 1024.
    ulimit -Sn 65536 2>/dev/null || ulimit -Sn "$(ulimit -Hn)"
    exec setsid "$@"
  ) </dev/null >"$log" 2>&1 9>&- &
  pid=$!
  printf '%s %s\n' "$pid" "$(born "$pid")" >"$RUN/$name.pid"
  # The child enters its folder by itself; before that it would not be taken for running. A busy machine takes seconds for it.
  local tries
  for ((tries = 0; tries < 1000; tries++)); do
    [[ -n $(born "$pid") && $(readlink "/proc/$pid/cwd") != "$(dir_of "$name")" ]] || break
    sleep 0.01
  done
}

# Sends bytes to a local port and prints the first $3 bytes of the answer.
tcp_ask() (
  exec 3<>"/dev/tcp/127.0.0.1/$1" &&
    printf '%b' "$2" >&3 &&
    timeout 2 head -c "$3" <&3
) 2>/dev/null

# True when the process answers in its own protocol; an open port alone says little.
answers() {
  local port
  port=$(port_of "$1")
  case $1 in
    postgres) "$(pg_bin)/pg_isready" -q -h 127.0.0.1 -p "$port" -t 2 ;;
    redis) [[ $(tcp_ask "$port" 'PING\r\n' 5) == +PONG ]] ;;
    # An ApiVersions request, correlation id 1, answered with that id and no error.
    kafka) [[ $(tcp_ask "$port" '\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff' 10 | od -An -tx1) == *' 00 00 00 01 00 00' ]] ;;
    *) [[ $(tcp_ask "$port" 'GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n' 12) == 'HTTP/1.'?' 200' ]] ;;
  esac
}

# fail_start NAME WHY: ends with the message of a process that did not start.
fail_start() {
  local log answer
  log=$(log_of "$1")
  warn "stack: $1 $2. The end of its log:"
  tail -n 15 "$log" 2>/dev/null | sed 's/^/  | /' >&2 || true
  if [[ " ${SERVICES[*]} " == *" $1 "* ]] && is_running "$1"; then
    answer=$(tcp_ask "$(port_of "$1")" 'GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n' 2000 | tr -d '\r' | sed '1,/^$/d' || true)
    warn "Its /readyz says: ${answer:-nothing}"
  fi
  warn "The whole log: $(shown "$log"). Then try: scripts/stack restart $1"
  exit 1
}

await() {
  local name=$1 deadline=$((SECONDS + START_SECONDS))
  until answers "$name"; do
    is_running "$name" || fail_start "$name" "stopped right after its start"
    ((SECONDS < deadline)) || fail_start "$name" "did not become ready within $START_SECONDS s"
    sleep 0.1
  done
}

# Stops the named processes, all at once; only what pid_of recognises is signalled.
stop_processes() {
  local name pid deadline=$((SECONDS + STOP_SECONDS)) stopping=()
  for name; do
    pid=$(pid_of "$name")
    if [[ -n $pid ]]; then
      if [[ $name == postgres ]]; then stop_postgres & else kill -TERM "$pid" || true; fi
      stopping+=("$name")
    else
      rm -f "$RUN/$name.pid"
    fi
  done
  for name in "${stopping[@]}"; do
    while pid=$(pid_of "$name") && [[ -n $pid ]]; do
      if ((SECONDS >= deadline)); then
        warn "stack: $name did not stop within $STOP_SECONDS s and is killed; its log: $(shown "$(log_of "$name")")"
        kill -KILL "$pid" || true
      fi
      sleep 0.1
    done
    rm -f "$RUN/$name.pid"
    say "$name stopped"
  done
  wait
}
