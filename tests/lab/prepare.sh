#!/bin/bash
# Makes this machine ready for `make lab`: Debian packages, the base tree of the lab's machines, wheels for the Python in
# that tree. Needs root and, the first time, the network (some two minutes); later runs only look. PYTHON: one with pip.
# What it makes lies in LAB_DIR (default ${XDG_CACHE_HOME:-~/.cache}/postern-lab). Exit status 1 with a sentence.
set -euo pipefail

HERE=$(dirname "$(readlink -f "$0")")
LAB_DIR=$(realpath -m "${LAB_DIR:-${XDG_CACHE_HOME:-${HOME:?set LAB_DIR or HOME}/.cache}/postern-lab}")
PYTHON=${PYTHON:-$HERE/../../.venv/bin/python}
TOOLS="debootstrap:debootstrap nft:nftables conntrack:conntrack ip:iproute2 sysctl:procps gcc:gcc unshare:util-linux
  nsenter:util-linux setpriv:util-linux"
OLDEST_GLIBC=17 # 2.17: the oldest for which wheels are made; a wheel for any glibc up to the tree's own will do

die() {
  echo "lab: $*" >&2
  exit 1
}

missing_packages() {
  local tool
  for tool in $TOOLS; do command -v "${tool%:*}" >/dev/null || echo "${tool#*:}"; done
  [ -e /usr/include/stdio.h ] || echo libc6-dev
}

install_packages() {
  local packages
  mapfile -t packages < <(missing_packages | sort -u)
  [ ${#packages[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || die "these are missing, install them: ${packages[*]}"
  echo "lab: installing ${packages[*]}" >&2
  if ! { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 \
    --no-install-recommends install "${packages[@]}"; } >"$LAB_DIR/apt.log" 2>&1 </dev/null 9>&-; then
    die "apt-get could not install ${packages[*]}: $(tail -1 "$LAB_DIR/apt.log")"
  fi
}

look_at_kernel() {
  grep -q ' cgroup2 ' /proc/self/mounts || die "no cgroup2 file system is mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup"
  [ -c /dev/net/tun ] || die "no /dev/net/tun: modprobe tun, or give this container the device"
}

# --- what the project stands on, as wheels, so that machines need no network ---------------------------------------

requirements() {
  "$PYTHON" - "$HERE/../../pyproject.toml" <<'END'
import sys, tomllib
project = tomllib.load(open(sys.argv[1], "rb"))
print(*project["build-system"]["requires"], "wheel", sep="\n")
print(*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["relay"], sep="\n")
END
}

platforms() { # TREE: the tags that pip looks for
  local newest minor
  newest=$(chroot "$1" ldd --version | sed -n '1s/.* 2\.//p')
  for ((minor = newest; minor >= OLDEST_GLIBC; minor--)); do echo "--platform=manylinux_2_${minor}_$(uname -m)"; done
  echo "--platform=manylinux2014_$(uname -m)"
}

fetch_wheels() { # TREE
  local version wanted wheels
  version=$(chroot "$1" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  wanted=$(requirements)
  wheels=$LAB_DIR/wheels/$(cksum <<<"$version $wanted" | cut -d' ' -f1)
  if [ ! -d "$wheels" ]; then
    echo "lab: fetching wheels" >&2
    rm -rf "$wheels.partial"
    mkdir -p "$wheels.partial"
    echo "$wanted" >"$wheels.partial/requirements.txt"
    # shellcheck disable=SC2046  # words
    "$PYTHON" -m pip download --quiet --disable-pip-version-check --no-input --only-binary=:all: --implementation=cp \
      --python-version="$version" $(platforms "$1") --dest "$wheels.partial" -r "$wheels.partial/requirements.txt" \
      >"$LAB_DIR/pip.log" 2>&1 9>&- || die "pip could not fetch the wheels: $(tail -1 "$LAB_DIR/pip.log")"
    mv "$wheels.partial" "$wheels"
  fi
  ln -sfn "$wheels" "$LAB_DIR/wheels/current"
}

[ "$(id -u)" = 0 ] || die "the lab needs root: sudo make lab"
mkdir -p "$LAB_DIR"
exec 9>"$LAB_DIR/.lock-prepare"
flock 9
install_packages
look_at_kernel
"$HERE/machine.sh" build >"$LAB_DIR/build.log" 2>&1 9>&- || die "no base tree: $(tail -1 "$LAB_DIR/build.log")"
fetch_wheels "$("$HERE/machine.sh" base)"
