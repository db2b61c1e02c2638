# shellcheck shell=bash disable=SC2034
# Building an image without a daemon, unpacking it, and looking at what is inside. For scripts/image, which
# sets WORK (a folder of this run) and EPOCH (the time of all files and of the image).

MAX_BYTES=45000000        # what the layers of an image may have together, unpacked
IMAGE_UID=65532

install_buildah() {
  ! command -v buildah >/dev/null || return 0
  command -v apt-get >/dev/null || die "buildah is missing, and this system has no apt-get; install it its own way"
  say "installing buildah (log: $(shown "$LOG/install.log"))"
  # The lists of a fresh container are empty, and those of an old machine name versions that are gone.
  apt_install buildah || { apt-get update -q </dev/null >>"$LOG/install.log" 2>&1 && apt_install buildah; } || {
    tail -n 10 "$LOG/install.log" >&2
    die "apt-get could not install buildah; its log: $(shown "$LOG/install.log")"
  }
}

# A storage in the folder of this run, so that images of the machine are neither seen nor left behind.
builder() { BUILDAH_ISOLATION=chroot buildah --root "$WORK/storage" --runroot "$WORK/runroot" --storage-driver vfs "$@"; }

# add_layer FROM FOLDER TARGET [SETTING…]: one more layer with what is in the folder.
add_layer() {
  local container from=$1 folder=$2 target=$3
  shift 3
  container=$(builder from --pull-never "$from") &&
    builder copy -q --chown 0:0 "$container" "$folder/." / >/dev/null &&
    { (($# == 0)) || builder config "$@" "$container"; } &&
    builder commit -q --rm --timestamp "$EPOCH" --identity-label=false --disable-compression=false \
      "$container" "$target" >/dev/null
}

# build_image NAME LAYOUT OUT [SETTING…]: makes an OCI image in OUT of a folder that deploy/docker/assemble
# has filled, with the same settings as the Dockerfile; more of them come last and so win.
build_image() {
  local name=$1 layout=$2 out=$3 command=run version revision
  shift 3
  version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml" | head -n 1)
  revision=$(git -C "$ROOT" -c safe.directory='*' rev-parse HEAD)
  [[ $name != issuer-api ]] || command=serve
  rm -rf "$out"
  add_layer scratch "$layout/base" localhost/coupon-base &&
    add_layer localhost/coupon-base "$layout/top" "oci:$out:$name" \
      --user "$IMAGE_UID:$IMAGE_UID" --env PATH=/usr/bin --workingdir / \
      --entrypoint "[\"/usr/bin/$name\"]" --cmd "$command" \
      --label "org.opencontainers.image.title=$name" --label org.opencontainers.image.licenses=Apache-2.0 \
      --label "org.opencontainers.image.version=$version" --label "org.opencontainers.image.revision=$revision" "$@"
}

# The digest by which a registry would know the image.
digest_of() { grep -oE 'sha256:[0-9a-f]{64}' "$1/index.json"; }

blob_of() { printf '%s/blobs/%s' "$1" "${2/://}"; }

# layers_of OUT: a line for each layer, lowest first: bytes unpacked, bytes to pull.
layers_of() {
  local digest blob
  # In a manifest the configuration comes first, then the layers; annotations name digests by other words.
  while read -r digest; do
    blob=$(blob_of "$1" "$digest")
    printf '%s %s\n' "$(gzip -dc <"$blob" | wc -c)" "$(wc -c <"$blob")"
  done < <(grep -oE '"digest":"sha256:[0-9a-f]{64}' "$(blob_of "$1" "$(digest_of "$1")")" | sed 1d | cut -d'"' -f4)
}

# unpack NAME OUT: makes a container of the image as it lies in OUT; sets CONTAINER and INSIDE, its root.
unpack() {
  local image
  # From beside it: buildah names what it pulls after the path, and a name must not hold a folder like .local.
  image=$(cd "${2%/*}" && builder pull -q "oci:${2##*/}:$1") && CONTAINER=$(builder from --pull-never "$image") &&
    INSIDE=$(builder mount "$CONTAINER")
}

# setting_of FIELD: a setting of the unpacked image, its words on lines of their own.
setting_of() {
  local words="{{range .OCIv1.Config.$1}}{{println .}}{{end}}"
  [[ $1 != User ]] || words='{{.OCIv1.Config.User}}'
  builder inspect --type container --format "$words" "$CONTAINER" | sed '/^$/d'
}

# check_size OUT: refuses what is larger than it may be.
check_size() {
  local total
  total=$(layers_of "$1" | awk '{ sum += $1 } END { print sum }')
  ((total <= MAX_BYTES)) || { warn "the image has $total bytes, and may have $MAX_BYTES"; return 1; }
}

# check_inside: refuses what an intruder could use, or what the binary would miss only on a bad day.
check_inside() {
  local found
  [[ $(setting_of User) == "$IMAGE_UID:$IMAGE_UID" ]] || { warn "the image runs as '$(setting_of User)'"; return 1; }
  found=$(find "$INSIDE" -type f -perm /111 ! -name '*.so.[0-9]*' -printf '/%P ')
  [[ $found == "$(setting_of Entrypoint) " ]] || { warn "besides its binary the image can run: $found"; return 1; }
  found=$(find "$INSIDE" ! -type l \( -perm /022 -o -perm /7000 -o ! -uid 0 -o ! -gid 0 \) -printf '/%P ')
  [[ -z $found ]] || { warn "the image's user may change, or has more rights through: $found"; return 1; }
  grep -q 'BEGIN CERTIFICATE' "$INSIDE/etc/ssl/certs/ca-certificates.crt" 2>/dev/null ||
    { warn "the image has no CA certificates, without which no alarm reaches Slack"; return 1; }
  # OpenSSL and rustls look in different places. Through the link, since that is how OpenSSL gets there.
  [[ $INSIDE/usr/lib/ssl/cert.pem -ef $INSIDE/etc/ssl/certs/ca-certificates.crt ]] ||
    { warn "OpenSSL finds no CA certificates in the image, without which no Kafka with TLS is trusted"; return 1; }
  check_origin || return 1
  grep -q ":x:$IMAGE_UID:$IMAGE_UID:" "$INSIDE/etc/passwd" || { warn "the image's user has no entry in passwd"; return 1; }
}

# check_origin: refuses an image that does not say what it is made of, or under which licences.
check_origin() {
  local name package licences
  name=$(setting_of Entrypoint)
  name=${name##*/}
  readelf -SW "$INSIDE/usr/bin/$name" | grep -q '\.dep-v0 ' ||
    { warn "the binary has no list of its crates; build it with scripts/release-build"; return 1; }
  licences=$INSIDE/usr/share/licenses/$name
  { [[ -s $licences/LICENSE && -s $licences/RUST-LIBRARY.html ]] && grep -q '^rdkafka-sys .*\[' "$licences/THIRD-PARTY" 2>/dev/null; } ||
    { warn "the image has no licence texts of its crates in /usr/share/licenses/$name"; return 1; }
  for package in "$INSIDE"/var/lib/dpkg/status.d/*; do
    package=${package##*/}
    [[ -s $INSIDE/usr/share/doc/$package/copyright ]] || { warn "the image has no copyright file of $package"; return 1; }
  done
}
