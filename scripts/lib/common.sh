# shellcheck shell=bash disable=SC2034
# What every part of the local stack shares: where things lie, what they are called, which servers
# are the caller's own. Sourced first, by scripts/stack; sourcing it
# changes nothing. Most of its variables are used in the other files only, hence the directive above.

# The physical path: /proc/PID/cwd, by which a process is recognised, never shows a symbolic link.
ROOT=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
LOCAL=$ROOT/.local        # everything the stack writes; ignored by git
if [[ -n ${STACK_LOCAL:-} ]]; then
  mkdir -p "$STACK_LOCAL"
  LOCAL=$(cd -P "$STACK_LOCAL" && pwd -P)
fi
RUN=$LOCAL/run            # pid files
LOG=$LOCAL/log            # one log per process, the previous one beside it as NAME.log.1
AUTH=$LOCAL/auth          # generated secrets, mode 0600

SERVERS=(postgres redis kafka)
SERVICES=(issuer-api issue-consumer dlq-consumer)
START_SECONDS=${STACK_START_SECONDS:-30}   # how long a process may take until it answers
STOP_SECONDS=15           # how long it may take to stop before it is killed

# Where the binaries are: as the caller says, else where the services were last started from.
BIN_DIR=${STACK_BIN_DIR:-}
[[ -n $BIN_DIR || ! -s $RUN/bin-dir ]] || BIN_DIR=$(<"$RUN/bin-dir")
BIN_DIR=${BIN_DIR:-$ROOT/target/release}
[[ $BIN_DIR == /* ]] || BIN_DIR=$PWD/$BIN_DIR
TOPIC=${STACK_TOPIC-coupon-issued}
TOPIC_PARTITIONS=${STACK_TOPIC_PARTITIONS:-8}
DLQ_TOPIC=${STACK_DLQ_TOPIC-coupon-issued.DLQ}
DLQ_PARTITIONS=${STACK_DLQ_PARTITIONS:-4}
DECISION_TOPIC=${STACK_DECISION_TOPIC-coupon-decisions}

say() { printf '%s\n' "$*"; }
warn() { printf '%s\n' "$*" >&2; }
die() { warn "stack: $*"; exit 1; }
usage_error() { warn "stack: $*"; exit 2; }

# A path as the caller reads it: relative to the checkout, when the caller stands in it.
shown() { if [[ $PWD == "$ROOT" ]]; then printf '%s' "${1#"$ROOT"/}"; else printf '%s' "$1"; fi; }

log_of() { printf '%s' "$LOG/$1.log"; }

# The working directory of each process. It is also how a process is known to be this checkout's.
dir_of() {
  case $1 in
    postgres) printf '%s' "$LOCAL/postgres/data" ;;
    redis) printf '%s' "$LOCAL/redis" ;;
    kafka) printf '%s' "$LOCAL/kafka" ;;
    *) printf '%s' "$LOCAL/services/$1" ;;
  esac
}

variable_of() {
  case $1 in
    postgres) printf DATABASE_URL ;;
    redis) printf REDIS_URL ;;
    kafka) printf KAFKA_BROKERS ;;
  esac
}

own_url_of() {
  case $1 in
    postgres) printf 'postgres://coupon:%s@127.0.0.1:%s/coupon' "$(secret postgres.password 16)" "$(port_of postgres)" ;;
    redis) printf 'redis://127.0.0.1:%s/0' "$(port_of redis)" ;;
    kafka) printf '127.0.0.1:%s' "$(port_of kafka)" ;;
  esac
}

# True when the caller brought this server. A variable that holds our own address does not count:
# it comes from `eval "$(scripts/stack env)"`, and the server behind it is ours to start and stop.
is_yours() {
  local variable
  variable=$(variable_of "$1")
  [[ -n $variable && -n ${!variable:-} && ${!variable} != "$(own_url_of "$1")" ]]
}

url_of() {
  local variable
  variable=$(variable_of "$1")
  if is_yours "$1"; then printf '%s' "${!variable}"; else own_url_of "$1"; fi
}

# Reads a secret of so many random bytes, as hexadecimal, and makes it on first use.
secret() {
  local file=$AUTH/$1 draft=$AUTH/$1.$BASHPID
  if [[ ! -s $file ]]; then
    mkdir -p "$AUTH"
    (umask 077 && od -An -tx1 -v -N"$2" /dev/urandom | tr -d ' \n' >"$draft")
    # Never over a secret that another command has just made.
    mv -n "$draft" "$file"
    rm -f "$draft"
  fi
  cat "$file"
}

# Turns the words of a command line into names of processes, servers before services.
targets() {
  local word name known=() chosen=()
  known=("${SERVERS[@]}" "${SERVICES[@]}")
  (($#)) || set -- servers services
  for word; do
    case $word in
      servers) chosen+=("${SERVERS[@]}") ;;
      services) chosen+=("${SERVICES[@]}") ;;
      *)
        [[ " ${known[*]} " == *" $word "* ]] ||
          usage_error "unknown part '$word'; it is servers, services, or one of: ${known[*]}"
        chosen+=("$word")
        ;;
    esac
  done
  for name in "${known[@]}"; do
    [[ " ${chosen[*]} " != *" $name "* ]] || printf '%s\n' "$name"
  done
}

# Two commands at once in one checkout would start two of everything. Processes that are started
# while it is held must close descriptor 9, or they would hold it for as long as they live.
take_lock() {
  mkdir -p "$RUN" "$LOG"
  [[ -O $LOCAL ]] || die "$LOCAL belongs to $(stat -c %U "$LOCAL"); run as that user, or remove the folder as that user"
  exec 9>"$LOCAL/lock"
  flock -w 120 9 || die "another scripts/stack has held $LOCAL/lock for two minutes; wait for it or end it"
}
