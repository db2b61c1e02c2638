# shellcheck shell=bash disable=SC2034
# Running an unpacked image as a container's runtime would: its own root and none of the machine's files,
# read-only, as its user, without a way to more rights. For scripts/image.

READY_SECONDS=20          # how long a start may take; how long it does take is only shown
PID=''

# Sets what every start needs: the stack's settings, and the schema.
prepare_launch() {
  choose_ports
  eval "$(scripts_stack env)"
  # A secret's file is mounted in a cluster; here is nothing to mount it on.
  ISSUER_API__AUTH__HMAC_SECRET=$(<"$ISSUER_API__AUTH__HMAC_SECRET_FILE")
  unset ISSUER_API__AUTH__HMAC_SECRET_FILE "${!ISSUER_API__EVENTS__@}" "${!ISSUE_CONSUMER__EVENTS__@}" "${!DLQ_CONSUMER__EVENTS__@}"
  "$BIN_DIR/issue-consumer" migrate </dev/null >"$LOG/migrate.log" 2>&1 || {
    tail -n 15 "$LOG/migrate.log" >&2
    die "'issue-consumer migrate' failed"
  }
}

# launch NAME LOG: starts it in the background; PID is the binary's own, for every step is an exec.
launch() {
  local name user prefix=${1//-/_} variables words
  user=$(setting_of User)
  mapfile -t words < <(setting_of Entrypoint; setting_of Cmd)
  mapfile -t variables < <(setting_of Env)
  for name in DATABASE_URL REDIS_URL KAFKA_BROKERS $(compgen -v "${prefix^^}__"); do variables+=("$name=${!name}"); done
  mkdir -p "$INSIDE"/{dev,proc}
  # shellcheck disable=SC2016 # expanded by the shell inside
  unshare --mount -- bash -c '
    set -euo pipefail
    root=$1 began=$2
    shift 2
    mount --bind "$root" "$root"
    mount --bind /proc "$root/proc"
    mount --bind /dev "$root/dev"
    mount -o remount,bind,ro "$root"
    printf "%s" "${EPOCHREALTIME/./}" >"$began"
    exec setpriv --no-new-privs -- env -i "$@"
  ' launch "$INSIDE" "$WORK/began" \
    "${variables[@]}" "$(command -v chroot)" --userspec="$user" --groups= "$INSIDE" "${words[@]}" \
    </dev/null >"$2" 2>&1 &
  PID=$!
}

# await_answer PATH: asks until the answer is 200, and prints the microseconds since the exec.
await_answer() {
  local deadline=$((SECONDS + READY_SECONDS))
  until [[ $(tcp_ask "$ADMIN_PORT" "GET $1 HTTP/1.0\r\nHost: localhost\r\n\r\n" 12) == 'HTTP/1.'?' 200' ]]; do
    [[ -n $(born "$PID") && $(state_of "$PID") != Z ]] || { warn "it ended at its start, before $1 answered"; return 1; }
    ((SECONDS < deadline)) || { warn "it is not ready: $1 has not said yes within $READY_SECONDS s"; return 1; }
  done
  printf '%s' $((${EPOCHREALTIME/./} - $(<"$WORK/began")))
}

state_of() { sed -nE 's/^State:\s*(.).*/\1/p' "/proc/$1/status" 2>/dev/null || true; }

# run_once NAME: one start, until it is ready, and one stop. Sets LIVEZ and READYZ to the microseconds.
run_once() {
  local name=$1 log=$WORK/$1.log code=0
  ADMIN_PORT=$(port_of "$name")
  launch "$name" "$log"
  { LIVEZ=$(await_answer /livez) && READYZ=$(await_answer /readyz) && check_process; } || {
    stop_image
    tail -n 15 "$log" | cut -c1-400 | sed 's/^/  | /' >&2
    return 1
  }
  stop_image || code=$?
  ((code == 0)) || { warn "$name ended with $code when it was told to stop"; tail -n 15 "$log" >&2; return 1; }
}

# check_process: that what runs is what was meant: the image's user, no rights, and a root it cannot write to.
check_process() {
  local status root
  status=$(<"/proc/$PID/status")
  [[ $(awk '/^Uid:/ { print $2 $3 $4 $5 }' <<<"$status") == "$IMAGE_UID$IMAGE_UID$IMAGE_UID$IMAGE_UID" ]] ||
    { warn "it does not run as $IMAGE_UID"; return 1; }
  [[ $(awk '/^CapEff:|^CapPrm:/ { printf "%d", "0x" $2 } /^NoNewPrivs:/ { print $2 }' <<<"$status") == 001 ]] ||
    { warn "it has rights that it should not have"; return 1; }
  root=$(awk '$5 == "/" { print $6 }' "/proc/$PID/mountinfo")
  [[ ,$root, == *,ro,* ]] || { warn "its root is not read-only ($root)"; return 1; }
}

# Stops the process, and returns its exit code.
stop_image() {
  local pid=$PID code=0
  [[ -n $pid ]] || return 0
  PID=''
  kill -TERM "$pid" 2>/dev/null || true
  wait "$pid" || code=$?
  return "$code"
}

# spread livez|readyz TIMES…: median, lowest and highest of the pairs LIVEZ:READYZ, in milliseconds.
spread() {
  local field=1
  [[ $1 != readyz ]] || field=2
  shift
  printf '%s\n' "$@" | cut -d: -f$field | sort -n |
    awk '{ t[NR] = $1 / 1000 } END { printf "%.0f (%.0f to %.0f)", t[int((NR + 1) / 2)], t[1], t[NR] }'
}
