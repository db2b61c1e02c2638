# shellcheck shell=bash
# Which ports this stack uses: ten in a row, nobody's defaults, different for every folder.
# STACK_PORT_BASE sets the first; otherwise it follows from the folder's path. The choice is kept
# in its file `ports` together with that path, so that a copied checkout chooses anew.

PORTS_FILE=$LOCAL/ports
PORTS_NEEDED=10
PORT_BASE=''

port_of() {
  case $1 in
    postgres) printf '%s' "$PORT_BASE" ;;
    redis) printf '%s' $((PORT_BASE + 1)) ;;
    kafka) printf '%s' $((PORT_BASE + 2)) ;;
    kafka-controller) printf '%s' $((PORT_BASE + 3)) ;;
    issuer-api-http) printf '%s' $((PORT_BASE + 4)) ;;
    issuer-api) printf '%s' $((PORT_BASE + 5)) ;;
    issue-consumer) printf '%s' $((PORT_BASE + 6)) ;;
    dlq-consumer) printf '%s' $((PORT_BASE + 7)) ;;
    kafka-way) printf '%s' $((PORT_BASE + 8)) ;;
    console) printf '%s' $((PORT_BASE + 9)) ;;
  esac
}

# The local ports that are listened on, in hexadecimal, one space around each.
listening() {
  cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
    awk '$4 == "0A" { n = split($2, part, ":"); printf " %s ", part[n] }' || true
}

is_port_taken() {
  local hex
  printf -v hex '%04X' "$1"
  [[ $(listening) == *" $hex "* ]]
}

# Prints the first base from $1 on, in steps of 20, whose ports are all free. The range ends below
# the ephemeral ports (32768), where an outgoing connection could sit on a port we want.
free_base() {
  local base=$1 taken tries offset hex
  taken=$(listening)
  for ((tries = 0; tries < 450; tries++)); do
    for ((offset = 0; offset < PORTS_NEEDED; offset++)); do
      printf -v hex '%04X' $((base + offset))
      [[ $taken != *" $hex "* ]] || break
    done
    if ((offset == PORTS_NEEDED)); then
      printf '%s' "$base"
      return
    fi
    base=$((20000 + (base - 20000 + 20) % 9000))
  done
  die "no ten free ports in a row between 20000 and 29000; set STACK_PORT_BASE"
}

base_of_path() {
  local sum
  read -r sum _ < <(printf '%s' "$LOCAL" | cksum)
  printf '%s' $((20000 + sum % 450 * 20))
}

# Sets PORT_BASE: what runs decides, then STACK_PORT_BASE, then what was chosen before.
choose_ports() {
  local recorded='' path='' name wanted=${STACK_PORT_BASE:-}
  if [[ -n $wanted ]] && ! { [[ $wanted =~ ^[1-9][0-9]{3,4}$ ]] && ((wanted >= 1024 && wanted <= 65526)); }; then
    usage_error "STACK_PORT_BASE is '$wanted'; it must be a number from 1024 to 65526"
  fi
  [[ ! -s $PORTS_FILE ]] || read -r recorded path <"$PORTS_FILE"
  if [[ $path == "$LOCAL" ]]; then
    PORT_BASE=$recorded
    [[ -n $wanted && $wanted != "$recorded" ]] || return 0
    for name in "${SERVERS[@]}" "${SERVICES[@]}"; do
      is_running "$name" || continue
      [[ ${COMMAND:-} != up && ${COMMAND:-} != restart ]] ||
        die "$name runs on the ports from $recorded on, not $wanted; run scripts/stack down first"
      return 0
    done
  fi
  PORT_BASE=${wanted:-$(free_base "$(base_of_path)")}
  mkdir -p "$LOCAL"
  printf '%s %s\n' "$PORT_BASE" "$LOCAL" >"$PORTS_FILE"
}

# need_port SERVER PORT: ends with a sentence when another process listens there.
need_port() {
  is_port_taken "$2" || return 0
  local holder=''
  if command -v ss >/dev/null; then
    holder=$(ss -Hltnp "sport = :$2" 2>/dev/null | sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/ by \1 (pid \2)/p' | head -n 1)
  fi
  die "port $2, which $1 wants, is in use$holder; choose other ports, for example:
  scripts/stack down; STACK_PORT_BASE=$(free_base $((PORT_BASE >= 20000 && PORT_BASE < 29000 ? PORT_BASE : 20000))) scripts/stack up"
}
