# shellcheck shell=bash disable=SC2034
# Programs of Debian 13 on an older system: unpacked with the libraries that they were built for, and started by the loader
# that comes with these. Nothing of the system is touched.

DEBIAN_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# fetch_debian13 FOLDER PACKAGES…: unpacks the packages there, from lists of its own, so that the system's packages stay those
# of its release.
fetch_debian13() {
  local place=$1 work=$1.new options package
  shift
  options=(-q -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/lists"
    -o "Dir::Cache=$work" -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o APT::Sandbox::User=)
  rm -rf "$work"
  mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/debs"
  echo "deb [signed-by=$DEBIAN_KEYRING] http://deb.debian.org/debian trixie main" >"$work/sources.list"
  apt-get "${options[@]}" update
  (cd "$work/debs" && apt-get "${options[@]}" download "$@")
  for package in "$work"/debs/*.deb; do dpkg -x "$package" "$work/root"; done
  rm -rf "$place"
  mv "$work/root" "$place"
  rm -rf "$work"
}

# debian13_start FOLDER PROGRAM: sets DEBIAN13_START to the words that start a program that was unpacked there.
debian13_start() {
  local libraries
  libraries=$(dirname "$(find "$1/usr/lib" -name 'ld-linux*' | head -n 1)")
  DEBIAN13_START=("$(find "$libraries" -name 'ld-linux*' | head -n 1)" --library-path "$libraries" "$1/$2")
}
