# shellcheck shell=bash
# What scripts/deploy-check, scripts/supply-chain and scripts/test-console run, in a folder of .local ($TOOLS): pinned versions, fetched once. Each
# part has a stamp of what it was made from.

KUSTOMIZE=v5.8.1          # the newest that Go 1.24 to 1.26 can build

# fresh STAMP FILE…: whether the stamp is of these files as they are now; otherwise MADE_FROM is what to stamp.
fresh() {
  local stamp=$1
  shift
  MADE_FROM=$(cat "$@" <<<"$KUSTOMIZE" | sha256sum)
  [[ -f $stamp && $(<"$stamp") == "$MADE_FROM" ]]
}

# attempt WHAT COMMAND…: runs it with its output in a log, and ends with the end of the log if it fails.
attempt() {
  local what=$1
  shift
  "$@" </dev/null >"$TOOLS/install.log" 2>&1 && return
  tail -n 15 "$TOOLS/install.log" >&2
  die "$what failed; the whole log: ${TOOLS#"$ROOT/"}/install.log"
}

need_tool() { command -v "$1" >/dev/null || die "$1 is not installed; $2"; }

install_tools() {
  mkdir -p "$TOOLS"
  install_kustomize
  install_python
  install_node 'the models of custom resources'
}

install_kustomize() {
  fresh "$TOOLS/kustomize.stamp" /dev/null && return
  need_tool go "kustomize is built with Go 1.24 or later"
  say "building kustomize $KUSTOMIZE (once)"
  attempt "building kustomize" env GOBIN="$TOOLS/bin" go install "sigs.k8s.io/kustomize/kustomize/v5@$KUSTOMIZE"
  printf '%s\n' "$MADE_FROM" >"$TOOLS/kustomize.stamp"
}

install_python() { install_python_in "$TOOLS/python" "$SOURCE/requirements.txt"; }

# install_python_in FOLDER REQUIREMENTS [OPTION…]: a Python environment with what the file lists, and nothing else.
install_python_in() {
  local folder=$1 wanted=$2
  shift 2
  fresh "$folder.stamp" "$wanted" && return
  need_tool python3 "it is Debian's package python3"
  python3 -c 'import ensurepip, tomllib' 2>/dev/null ||
    die "Python 3.11 or later with venv is needed; it is Debian's packages python3 and python3-venv"
  say "fetching the checks from PyPI (once)"
  rm -rf "$folder"
  attempt "making a Python environment" python3 -m venv "$folder"
  attempt "fetching from PyPI" "$folder/bin/pip" install --disable-pip-version-check --no-deps "$@" -r "$wanted"
  printf '%s\n' "$MADE_FROM" >"$folder.stamp"
}

# install_node WHAT: what $SOURCE/package-lock.json lists.
install_node() {
  fresh "$TOOLS/node.stamp" "$SOURCE/package.json" "$SOURCE/package-lock.json" && return
  need_tool npm "$1 come from npm and need Node 20 or later"
  say "fetching $1 from npm (once)"
  mkdir -p "$TOOLS/node"
  cp "$SOURCE/package.json" "$SOURCE/package-lock.json" "$TOOLS/node/"
  attempt "fetching from npm" npm ci --prefix "$TOOLS/node" --ignore-scripts --no-audit --no-fund
  printf '%s\n' "$MADE_FROM" >"$TOOLS/node.stamp"
}
