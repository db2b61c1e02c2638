# shellcheck shell=bash
# The local PostgreSQL: a cluster of its own, loopback TCP only, user and database `coupon`.

PG_DIR=$LOCAL/postgres
PG_DATA=$PG_DIR/data
PG_VERSIONS=${STACK_POSTGRES_VERSIONS:-/usr/lib/postgresql}   # a folder of each version, as Debian lays them out
PG_AS=()                  # what to put before a server command, set by become_postgres

# Prints the newest PostgreSQL there is: its major version, or 0.
newest_postgres() {
  local dir newest=0
  for dir in "$PG_VERSIONS"/*/bin; do
    dir=${dir%/bin}
    dir=${dir##*/}
    # As numbers: in the order of the alphabet, 9 comes after 15.
    if [[ $dir =~ ^[0-9]+$ && -x $PG_VERSIONS/$dir/bin/postgres ]] && ((dir > newest)); then newest=$dir; fi
  done
  printf '%s' "$newest"
}

# The programs of the version that made the data, otherwise of the newest one installed.
pg_bin() {
  local version=''
  [[ ! -s $PG_DATA/PG_VERSION ]] || read -r version <"$PG_DATA/PG_VERSION"
  printf '%s/%s/bin' "$PG_VERSIONS" "${version:-$(newest_postgres)}"
}

# PostgreSQL refuses to run as root. Root therefore runs it as the package's user `postgres`, who
# may be unable to reach a checkout below a folder of mode 0700 (/root, mktemp -d): then the server
# keeps the one capability that lets it pass. dac_override alone, because containers often lack
# dac_read_search, and asking for what is not there fails.
become_postgres() {
  PG_AS=()
  mkdir -p "$PG_DIR"
  ((EUID == 0)) || return 0
  id postgres >/dev/null 2>&1 || die "there is no user 'postgres' to run PostgreSQL as; install the Debian package postgresql"
  chown postgres: "$PG_DIR"
  local user=(setpriv --reuid=postgres --regid=postgres --init-groups)
  PG_AS=("${user[@]}" --)
  # Tried with a file: access(2), which `test -w` asks, leaves capabilities out of account.
  ! "${PG_AS[@]}" touch "$PG_DIR/.reached" 2>/dev/null || return 0
  PG_AS=("${user[@]}" --inh-caps=+dac_override --ambient-caps=+dac_override --)
  "${PG_AS[@]}" touch "$PG_DIR/.reached" 2>/dev/null ||
    die "the user postgres cannot reach $PG_DIR, and root may not pass its rights on here;
  move the checkout to a folder every user can enter, or run as a user other than root"
}

make_cluster() {
  if [[ -s $PG_DATA/PG_VERSION ]]; then
    [[ -x $(pg_bin)/postgres ]] ||
      die "the data was made by PostgreSQL $(<"$PG_DATA/PG_VERSION"), which is not installed any more; install it, or run scripts/stack reset"
    return
  fi
  local password=$PG_DIR/password
  rm -rf "$PG_DATA" "$PG_DATA.new"
  # initdb reads the password as the user postgres, who may not read our copy of it.
  (umask 077 && secret postgres.password 16 >"$password")
  ((EUID != 0)) || chown postgres: "$password"
  # Made beside its place and then moved, so that an interrupted initdb leaves nothing half done.
  (cd "$PG_DIR" && "${PG_AS[@]}" "$(pg_bin)/initdb" -D "$PG_DATA.new" -U coupon --pwfile="$password" \
    --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8) >"$LOG/initdb.log" 2>&1 || {
    tail -n 15 "$LOG/initdb.log" >&2
    die "initdb failed; its log: $(shown "$LOG/initdb.log")"
  }
  rm -f "$password"
  mv "$PG_DATA.new" "$PG_DATA"
}

# Waits for the children of a killed server: as long as one lives, a new server refuses to start.
# A lock file of a server that is not in this folder came with a copy, or its pid is another's by now.
clear_remains() {
  local tries
  for ((tries = 0; tries < 100; tries++)); do
    [[ -n $(find /proc -maxdepth 2 -name cwd -lname "$PG_DATA" 2>/dev/null) ]] || break
    sleep 0.1
  done
  ((tries < 100)) || die "a PostgreSQL that scripts/stack did not start runs in $(shown "$PG_DATA"); stop it first"
  rm -f "$PG_DATA/postmaster.pid"
}

write_postgres_config() {
  cat >"$PG_DIR/postgresql.conf" <<CONF
# Written by scripts/stack at each start.
# First what initdb found to work on this machine, such as the kind of shared memory.
include '$PG_DATA/postgresql.conf'
listen_addresses = '127.0.0.1'
port = $(port_of postgres)
# TCP only: the path of a socket below this folder could exceed the 107 bytes a socket path may have.
unix_socket_directories = ''
max_connections = 300
shared_buffers = 256MB
# The first change of a page after a checkpoint logs the whole page, so checkpoints are rare: see deploy/README.md, "PostgreSQL".
max_wal_size = 4GB
checkpoint_timeout = 15min
fsync = on
synchronous_commit = on
timezone = 'UTC'
log_timezone = 'UTC'
log_min_messages = warning
log_line_prefix = '%m [%p] %d '
CONF
  chmod 644 "$PG_DIR/postgresql.conf"
}

start_postgres() {
  become_postgres
  make_cluster
  clear_remains
  need_port postgres "$(port_of postgres)"
  write_postgres_config
  start_process postgres "${PG_AS[@]}" "$(pg_bin)/postgres" -D "$PG_DATA" -c config_file="$PG_DIR/postgresql.conf"
}

pg_query() {
  PGPASSWORD=$(secret postgres.password 16) "$(pg_bin)/psql" -X -q -At -v ON_ERROR_STOP=1 \
    -h 127.0.0.1 -p "$(port_of postgres)" -U coupon -d postgres -c "$1" 9>&-
}

prepare_postgres() {
  local found
  found=$(pg_query "SELECT 1 FROM pg_database WHERE datname = 'coupon'" 2>&1) || {
    warn "$found"
    die "PostgreSQL does not let the user coupon in; if .local was changed by hand, scripts/stack reset makes it anew"
  }
  [[ $found == 1 ]] || pg_query 'CREATE DATABASE coupon'
}

# SIGKILL would leave shared memory and children behind, so the last resort is an immediate stop.
stop_postgres() {
  local stop=("$(pg_bin)/pg_ctl" stop -s -w -t "$((STOP_SECONDS - 2))" -D "$PG_DATA")
  become_postgres
  (cd "$PG_DIR" && { "${PG_AS[@]}" "${stop[@]}" -m fast || "${PG_AS[@]}" "${stop[@]}" -m immediate; }) >/dev/null 2>&1 || true
}
