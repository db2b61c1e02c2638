# shellcheck shell=bash
# The local Redis: append-only file on, no eviction, loopback only, data in .local/redis.

start_redis() {
  local dir port
  dir=$(dir_of redis)
  port=$(port_of redis)
  mkdir -p "$dir"
  need_port redis "$port"
  cat >"$dir/redis.conf" <<CONF
# Written by scripts/stack at each start.
bind 127.0.0.1
port $port
daemonize no
dir "$dir"
logfile ""
# The stock lives here: every write goes to the append-only file, and nothing is ever evicted.
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
# One database for each test.
databases 1024
CONF
  start_process redis redis-server "$dir/redis.conf"
}
