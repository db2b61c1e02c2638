# shellcheck shell=bash
# Installs the Debian packages that are missing, or says which ones and how. Nothing that is there
# already is touched, and no server of the system is started on its default port.

version_of_java() { java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1; }
version_of_redis() { redis-server --version | sed -n 's/.* v=\([0-9]*\)\..*/\1/p'; }

has_java() { command -v java >/dev/null && [[ $(version_of_java) -ge 17 ]]; }
has_postgres() { (($(newest_postgres) >= 15)); }

# Debian 12 and Ubuntu have 17 under that name; later releases only have a newer default.
java_package() {
  if apt-cache show openjdk-17-jre-headless >/dev/null 2>&1; then
    say openjdk-17-jre-headless
  else
    say default-jre-headless
  fi
}

# missing_packages [all [valgrind|chromium|nginx]]: what the servers need; with `all` also what the build of librdkafka needs, and
# what is named: who only runs the pipeline counts no instructions, drives no browser and has no cache in front.
missing_packages() {
  is_yours postgres || has_postgres || say postgresql
  is_yours redis || command -v redis-server >/dev/null || say redis-server
  # Also for a Kafka of the caller's: its topics are created with the jars.
  has_java || java_package
  command -v mvn >/dev/null || say maven
  [[ ${1:-} == all ]] || return 0
  { command -v cc && command -v c++ && command -v make; } >/dev/null || say build-essential
  command -v pkg-config >/dev/null || say pkg-config
  [[ -e /usr/include/zlib.h ]] || say zlib1g-dev
  [[ -e /usr/include/openssl/ssl.h ]] || say libssl-dev
  [[ -e /usr/include/zstd.h ]] || say libzstd-dev
  # On Debian scripts/pgbouncer fetches one that is new enough by itself.
  [[ -e /usr/share/keyrings/debian-archive-keyring.gpg ]] || command -v pgbouncer >/dev/null || say pgbouncer
  # Tests encrypt the key of a certificate with it.
  command -v openssl >/dev/null || say openssl
  [[ ${2:-} != valgrind ]] || command -v valgrind >/dev/null || say valgrind
  # Chromium without windows, which costs half of what the whole browser does.
  [[ ${2:-} != chromium ]] || command -v chromium-headless-shell >/dev/null || say chromium-headless-shell
  # It stands in no PATH of a user.
  [[ ${2:-} != nginx || -x /usr/sbin/nginx || -x /usr/bin/nginx ]] || say nginx
  # Without any font a browser draws boxes.
  [[ ${2:-} != chromium || -n $(find /usr/share/fonts -name '*.ttf' 2>/dev/null | head -n 1) ]] || say fonts-dejavu-core
}

# As root, or through sudo when it asks for no password.
as_root() { if ((EUID == 0)); then "$@"; else sudo -n "$@"; fi; }

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
    -o DPkg::Lock::Timeout=120 "$@" </dev/null >>"$LOG/install.log" 2>&1 9>&-
}

# A policy-rc.d that answers 101 keeps maintainer scripts from starting services, and with this
# setting the PostgreSQL package makes no cluster on port 5432. Both are taken back afterwards.
POLICY=/usr/sbin/policy-rc.d
CLUSTER_CONF=/etc/postgresql-common/createcluster.conf
held_back=()
hold_services_back() {
  if [[ ! -e $POLICY ]]; then
    held_back+=("$POLICY")
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null
    as_root chmod 755 "$POLICY"
  fi
  if [[ ! -e $CLUSTER_CONF ]]; then
    held_back+=("$CLUSTER_CONF")
    as_root mkdir -p "${CLUSTER_CONF%/*}"
    echo 'create_main_cluster = false' | as_root tee "$CLUSTER_CONF" >/dev/null
  fi
}
let_services_go() {
  local file
  for file in "${held_back[@]}"; do
    if [[ $file == "$CLUSTER_CONF" && -e /usr/share/postgresql-common/createcluster.conf ]]; then
      as_root cp /usr/share/postgresql-common/createcluster.conf "$CLUSTER_CONF"
    else
      as_root rm -f "$file"
    fi
  done
  held_back=()
}

# install_packages [all [valgrind|chromium|nginx]]
install_packages() {
  local packages began=$SECONDS
  mapfile -t packages < <(missing_packages "$@")
  if ((${#packages[@]})); then
    command -v apt-get >/dev/null ||
      die "missing: ${packages[*]} (these are Debian's names; this system has no apt-get, so install them its own way)"
    if ((EUID != 0)) && ! sudo -n true 2>/dev/null; then
      die "these packages are missing, and installing them needs root. Run:
  sudo apt-get update && sudo apt-get install --no-install-recommends ${packages[*]}"
    fi
    say "installing ${packages[*]} (log: $(shown "$LOG/install.log"))"
    trap let_services_go EXIT
    hold_services_back
    # The lists of a fresh container are empty, and those of an old machine name versions that are gone.
    apt_install "${packages[@]}" || {
      as_root apt-get update -q </dev/null >>"$LOG/install.log" 2>&1 9>&- || true
      mapfile -t packages < <(missing_packages "$@")
      apt_install "${packages[@]}" || {
        tail -n 10 "$LOG/install.log" >&2
        die "apt-get could not install ${packages[*]}; its log: $(shown "$LOG/install.log")"
      }
    }
    let_services_go
    trap - EXIT
    say "installed, after $((SECONDS - began)) s"
    # The packages would start Redis on 6379 and nginx on 80 at the next boot; who wants that can enable it again.
    local service
    for service in redis-server nginx; do
      if [[ " ${packages[*]} " == *" $service "* ]] && command -v systemctl >/dev/null; then
        as_root systemctl disable "$service" </dev/null >>"$LOG/install.log" 2>&1 || true
      fi
    done
  fi
  check_versions
}

check_versions() {
  is_yours postgres || has_postgres ||
    die "PostgreSQL 15 or newer is needed and this system's package is older; take Debian 12, Ubuntu 24.04 or newer, or set DATABASE_URL"
  is_yours redis || [[ $(version_of_redis) -ge 7 ]] ||
    die "Redis 7 or newer is needed and this system's package is older; take Debian 12, Ubuntu 24.04 or newer, or set REDIS_URL"
  has_java || die "Java 17 or newer is needed and 'java' is $(version_of_java); put a newer one first in PATH"
}
