#!/bin/bash
# Boots a real systemd, as PID 1 of its own namespaces, from a Debian tree: for tests of an installed service
# on a machine whose own PID 1 may be anything.  Needs root, util-linux and a cgroup2 mount; `build` needs debootstrap.
#
#   build [SUITE]                  make the base tree of a Debian release (once; about a minute, 400 MB)
#   base [SUITE]                   print where it is
#   start NAME [--suite SUITE] [--net MODE] [--keep]
#                                  MODE: private (default), host, or the name of an `ip netns`
#                                  --keep: boot the disk that `stop --keep` or `crash` left, else a pristine one
#   exec  NAME CMD...              run a command inside; standard streams and exit status are passed through
#   put   NAME SRC DST             copy a file or directory in, as `cp -a` would
#   root  NAME                     print where the host sees the machine's /
#   list                           the machines of this LAB_DIR
#   crash NAME                     power cut: SIGKILL to the machine's PID 1; the disk stays
#   stop  NAME [--keep]            clean power-off; removes the disk unless --keep
#
# A machine is an overlay over the base tree, so every `start` without --keep begins with a pristine system.
# Environment: LAB_DIR (trees and state), LAB_SUITE (default bookworm), LAB_BASE (use this tree instead),
# LAB_MIRROR and LAB_KEYRING (for `build`; by default the archive that this machine's own apt uses, and Debian's keys).
# Signals only processes that it started itself: number, start time and boot are recorded and compared.
set -euo pipefail

SELF=$(readlink -f "$0")
LAB_DIR=$(realpath -m "${LAB_DIR:-${XDG_CACHE_HOME:-${HOME:?set LAB_DIR or HOME}/.cache}/postern-lab}")
SUITE=${LAB_SUITE:-bookworm}
MACHINES=$LAB_DIR/machines
INSIDE=(container=postern-lab HOME=/root TERM=dumb LANG=C.UTF-8 SYSTEMD_PAGER=cat
  PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
SHARED_WITH_HOST=-sys_time,-sys_module # the clock and the kernel are not namespaced: root inside must not change them
PACKAGES=systemd,systemd-sysv,dbus,libnss-systemd,python3,python3-venv,ca-certificates,openssl,openssh-client
PACKAGES+=,curl,iproute2,nftables,procps,strace,less,nginx,caddy,haproxy
PACKAGES+=,libfaketime,python3-yaml
# Units of hardware, time, networks and package updates are the host's business; tests start the proxies themselves.
MASKED="systemd-networkd.service systemd-resolved.service systemd-timesyncd.service systemd-sysctl.service
  systemd-logind.service systemd-modules-load.service systemd-udevd.service getty.target console-getty.service
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
  nginx.service caddy.service haproxy.service
  sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount sys-fs-fuse-connections.mount"

die() { echo "machine: $*" >&2; exit 1; }
usage() { awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$SELF"; }

# --- which process is ours -------------------------------------------------------------------------------------

start_time() { # PID -> its start time in kernel ticks; nothing for a process that is gone or a zombie
  { sed 's/.*) //' "/proc/$1/stat" | awk '$1 != "Z" { print $20 }'; } 2>/dev/null || true
}

identity() { # PID -> "PID START_TIME BOOT_ID"
  echo "$1 $(start_time "$1") $(</proc/sys/kernel/random/boot_id)"
}

pid_of() { # NAME -> host number of its PID 1, if that is still the very process that was started
  local recorded
  recorded=$(cat "$MACHINES/$1/pid" 2>/dev/null) || return 1
  [ "$recorded" = "$(identity "${recorded%% *}")" ] || return 1
  echo "${recorded%% *}"
}

running() { pid_of "$1" || die "$1 is not running"; }

gone_within() { # NAME SECONDS
  local tick
  for ((tick = 0; tick < $2 * 20; tick++)); do
    pid_of "$1" >/dev/null || return 0
    sleep .05
  done
  return 1
}

lock() { # serialises what changes one machine or one tree; released when this process ends
  mkdir -p "$LAB_DIR"
  exec 9>"$LAB_DIR/.lock-$1"
  flock 9
}

# --- the base tree ---------------------------------------------------------------------------------------------

base_of() { echo "${LAB_BASE:-$LAB_DIR/base/$1-$(cksum <<<"$PACKAGES $MASKED" | cut -d' ' -f1)}"; }

mirror_of() { # SUITE -> the archive from which this machine's own apt installs
  local uri
  # shellcheck disable=SC2016  # apt expands these, not the shell
  uri=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(CODENAME) $(COMPONENT) $(LABEL)' 'Created-By: Packages' |
    awk -v suite="$1" '
      $4 != "main" || $5 !~ /^(Debian|Ubuntu|\$\(LABEL\))$/ || NF > 5 { next }
      ($2 == suite || $3 == suite) && !exact { exact = $1 }
      $2 !~ /-security/ && !other            { other = $1 }
      END { print exact ? exact : other }')
  case $uri in mirror+file:*) uri=$(awk '/^[a-z]/ { print $1; exit }' "${uri#mirror+file:}") ;; esac
  case $uri in
    http://* | https://* | file:*) echo "$uri" ;;
    *) die "no usable Debian archive in apt's sources; set LAB_MIRROR" ;;
  esac
}

build() {
  local suite=${1:-$SUITE} base mirror
  base=$(base_of "$suite")
  lock build
  if [ -x "$base/lib/systemd/systemd" ]; then echo "$base: already built"; return; fi
  command -v debootstrap >/dev/null || die "debootstrap is not installed"
  mirror=${LAB_MIRROR:-$(mirror_of "$suite")}
  rm -rf --one-file-system "$base.partial"
  mkdir -p "$base.partial"
  # a mount namespace of its own: what an interrupted debootstrap left mounted goes with it
  if ! unshare --mount debootstrap --variant=minbase --include="$PACKAGES" ${LAB_KEYRING:+--keyring="$LAB_KEYRING"} \
    "$suite" "$base.partial" "$mirror" >"$base.log" 2>&1 9>&-; then
    tail -5 "$base.log" >&2
    die "debootstrap failed, see $base.log"
  fi
  furnish "$base.partial"
  mv "$base.partial" "$base"
  echo "$base: built"
}

furnish() { # TREE: what a debootstrap tree needs to boot quietly here
  local unit
  : >"$1/etc/machine-id"
  : >"$1/etc/resolv.conf"
  echo lab >"$1/etc/hostname"
  for unit in $MASKED; do ln -sf /dev/null "$1/etc/systemd/system/$unit"; done
  mkdir -p "$1/etc/systemd/journald.conf.d" "$1/var/log/journal"
  printf '[Journal]\nStorage=persistent\nRateLimitIntervalSec=0\n' >"$1/etc/systemd/journald.conf.d/lab.conf"
  rm -f "$1"/var/cache/apt/archives/*.deb
}

# --- a machine's life ------------------------------------------------------------------------------------------

cgroup_of() { # NAME -> its cgroup; the check sum keeps labs with different LAB_DIRs apart
  local mount
  mount=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts)
  [ -n "$mount" ] || die "no cgroup2 mount on this host"
  echo "$mount/postern-lab-$(cksum <<<"$LAB_DIR" | cut -d' ' -f1)-$1"
}

remove_cgroup() { # NAME: the kernel may need a moment to empty it
  local cgroup tick
  cgroup=$(cgroup_of "$1")
  for ((tick = 0; tick < 40; tick++)); do
    [ -d "$cgroup" ] || return 0
    find "$cgroup" -depth -type d -exec rmdir {} \; 2>/dev/null || true
    sleep .05
  done
  [ ! -d "$cgroup" ] || die "$cgroup is still in use"
}

start() {
  local name=$1 net=private keep='' suite=$SUITE machine cgroup base supervisor join=() own=()
  shift
  while [ $# -gt 0 ]; do
    case $1 in
      --net) net=${2:?--net needs a mode}; shift 2 ;;
      --suite) suite=${2:?--suite needs a name}; shift 2 ;;
      --keep) keep=1; shift ;;
      *) die "start: unknown option $1" ;;
    esac
  done
  case $net in
    private) own=(--net) ;;
    host) ;;
    *) [ -e "/run/netns/$net" ] || die "no network namespace $net"; join=(nsenter --net="/run/netns/$net") ;;
  esac
  machine=$MACHINES/$name
  case $machine in *[,:\\]*) die "LAB_DIR must not contain , : or \\ (overlay mount options)" ;; esac
  lock "$name"
  if pid_of "$name" >/dev/null; then die "$name is already running"; fi

  base=$(base_of "$suite")
  if [ -n "$keep" ] && [ -e "$machine/base" ]; then base=$(<"$machine/base"); fi # the tree this disk began with
  [ -x "$base/lib/systemd/systemd" ] || die "no tree at $base; make it with: $0 build $suite"
  [ -n "$keep" ] || rm -rf --one-file-system "$machine"
  mkdir -p "$machine"/{upper/etc,work,merged}
  echo "$base" >"$machine/base"
  address_files "$name" "$net" "$machine/upper/etc"
  rm -f "$machine/pid"
  : >"$machine/console.log"
  remove_cgroup "$name"
  cgroup=$(cgroup_of "$name")
  mkdir "$cgroup"

  (
    echo "$BASHPID" >"$cgroup/cgroup.procs"
    exec setsid "${join[@]}" unshare --pid --mount --uts --ipc --cgroup "${own[@]}" --fork --kill-child=KILL \
      bash "$SELF" __inside "$machine" "$base" "$net"
  ) </dev/null >>"$machine/console.log" 2>&1 9>&- &
  supervisor=$!
  wait_for_boot "$name" "$supervisor"
}

address_files() { # NAME NET ETC: host name, hosts and resolver, once per disk
  local name=$1 net=$2 etc=$3
  [ ! -e "$etc/hosts" ] || return 0
  echo "$name" >"$etc/hostname"
  printf '127.0.0.1 localhost %s\n::1 localhost\n' "$name" >"$etc/hosts"
  case $net in
    private) ;;
    host) cat /etc/resolv.conf >"$etc/resolv.conf" ;;
    *)
      [ ! -e "/etc/netns/$net/hosts" ] || grep -v localhost "/etc/netns/$net/hosts" >>"$etc/hosts" || true
      [ ! -e "/etc/netns/$net/resolv.conf" ] || cat "/etc/netns/$net/resolv.conf" >"$etc/resolv.conf" ;;
  esac
}

wait_for_boot() { # NAME SUPERVISOR (our own child: its number cannot have been reused)
  local name=$1 supervisor=$2 pid='' state='' tick
  for ((tick = 0; tick < 600; tick++)); do
    if [ -z "$(start_time "$supervisor")" ]; then
      tail -20 "$MACHINES/$name/console.log" >&2
      die "$name died at boot"
    fi
    if pid=$(pid_of "$name"); then
      state=$(enter "$pid" systemctl is-system-running 2>/dev/null) || true
      case $state in running | degraded) break ;; esac
    fi
    sleep .05
  done
  if [ -z "$pid" ]; then
    kill -KILL "$supervisor"
    die "$name did not come up; see $MACHINES/$name/console.log"
  fi
  echo "$name: state ${state:-unknown}, host pid $pid"
  [ "$state" = running ] || enter "$pid" systemctl --failed --no-pager --plain >&2 || true
  case $state in running | degraded) ;; *) return 1 ;; esac
}

inside() { # MACHINE BASE NET: runs as PID 1 of the new namespaces; makes the file system, then becomes systemd
  local machine=$1 base=$2 net=$3 root=$1/merged pid node
  read -r pid _ </proc/self/stat # /proc is still the host's: this is the number by which the host knows us
  identity "$pid" >"$machine/pid.new"
  cat /proc/sys/kernel/random/uuid >"$machine/boot_id"

  mount --make-rprivate /
  mount -t overlay -o "lowerdir=$base,upperdir=$machine/upper,workdir=$machine/work" overlay "$root" ||
    die "no overlay in $machine (itself on an overlay? then set LAB_DIR to another file system)"
  mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
  mount --bind "$root/proc/sys" "$root/proc/sys"
  mount -o remount,bind,ro,nosuid,nodev,noexec "$root/proc/sys"
  if [ "$net" != host ]; then # network settings are the namespace's own, unless it is the host's
    mount --bind "$root/proc/sys/net" "$root/proc/sys/net"
    mount -o remount,bind,rw "$root/proc/sys/net"
  fi
  mount --bind "$machine/boot_id" "$root/proc/sys/kernel/random/boot_id" # so that journalctl tells boots apart
  if [ -e "$root/proc/sysrq-trigger" ]; then mount --bind /dev/null "$root/proc/sysrq-trigger"; fi
  mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
  mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$root/sys/fs/cgroup"
  mount -t tmpfs -o mode=755,nosuid,size=4m dev "$root/dev"
  while read -r node; do
    # shellcheck disable=SC2086  # three words
    mknod -m 666 "$root/dev/"$node
  done <<<$'null c 1 3\nzero c 1 5\nfull c 1 7\nrandom c 1 8\nurandom c 1 9\ntty c 5 0'
  mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/net"
  mknod -m 666 "$root/dev/net/tun" c 10 200
  mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts "$root/dev/pts"
  ln -s pts/ptmx "$root/dev/ptmx"
  ln -s /proc/self/fd "$root/dev/fd"
  for node in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${node%:*}" "$root/dev/${node#*:}"; done
  : >"$root/dev/console"
  mount --bind "$machine/console.log" "$root/dev/console"
  mount -t tmpfs -o mode=1777,nosuid,nodev shm "$root/dev/shm"
  mount -t tmpfs -o mode=755,nosuid,nodev run "$root/run"
  mount -t tmpfs -o mode=1777,nosuid,nodev tmp "$root/tmp"

  mv "$machine/pid.new" "$machine/pid"
  mkdir -p "$root/.old"
  cd "$root"
  pivot_root . .old
  umount -l /.old
  rmdir /.old
  mount --make-rshared / # as a kernel-booted systemd does itself; without it LoadCredential= gives an empty directory
  exec env -i "${INSIDE[@]}" setpriv --bounding-set "$SHARED_WITH_HOST" \
    /lib/systemd/systemd --system --unit=multi-user.target --show-status=no
}

crash() {
  local pid
  lock "$1"
  pid=$(running "$1")
  kill -KILL "$pid"
  gone_within "$1" 10 || die "$1 does not end"
  remove_cgroup "$1"
  rm -f "$MACHINES/$1/pid"
}

stop() {
  local name=$1 keep=${2:-} pid
  case $keep in '' | --keep) ;; *) die "stop: unknown option $keep" ;; esac
  lock "$name"
  if pid=$(pid_of "$name"); then
    kill -s RTMIN+4 "$pid" # systemd's signal for poweroff.target
    if ! gone_within "$name" 30; then
      echo "machine: $name: no clean power-off in 30 s, killing it" >&2
      kill -KILL "$pid"
      gone_within "$name" 10 || die "$name does not end"
    fi
  fi
  remove_cgroup "$name"
  rm -f "$MACHINES/$name/pid"
  if [ -z "$keep" ]; then rm -rf --one-file-system "${MACHINES:?}/$name"; fi
}

# --- a machine in use ------------------------------------------------------------------------------------------

enter() ( # PID CMD...: in a subshell that becomes the command
  pid=$1
  shift
  exec nsenter --target "$pid" --mount --uts --ipc --net --pid --cgroup --wd env -i "${INSIDE[@]}" \
    setpriv --bounding-set "$SHARED_WITH_HOST" "$@"
)

put() { # NAME SRC DST: by tar, because a path through /proc/PID/root would follow absolute links into the host
  local pid
  pid=$(running "$1")
  # shellcheck disable=SC2016  # expanded inside
  tar -C "$(dirname -- "$2")" -cf - -- "$(basename -- "$2")" |
    enter "$pid" bash -euc '
      dir=$(mktemp -d /var/tmp/put.XXXXXX)
      trap "rm -rf $dir" EXIT
      tar -C "$dir" --numeric-owner -xpf -
      mkdir -p "$(dirname -- "$2")"
      cp -a -- "$dir/$1" "$2"' _ "$(basename -- "$2")" "$3"
}

list() {
  local machine name
  for machine in "$MACHINES"/*/; do
    [ -d "$machine" ] || continue
    name=$(basename "$machine")
    if pid_of "$name" >/dev/null; then echo "$name running"; else echo "$name off"; fi
  done
}

verb=${1:-}
shift || true
case $verb in
  -h | --help | help | '') ;;
  *) [ "$(id -u)" = 0 ] || die "needs root" ;;
esac
case $verb in
  start | exec | put | root | crash | stop | freeze | thaw)
    [[ ${1:-} =~ ^[a-z][a-z0-9-]{0,62}$ ]] || die "$verb: give the machine a name of a-z, 0-9 and -" ;;
esac
case $verb in
  build) build "$@" ;;
  base) base_of "${1:-$SUITE}" ;;
  start) start "$@" ;;
  exec)
    name=$1
    shift
    [ $# -gt 0 ] || die "exec: no command"
    pid=$(running "$name")
    enter "$pid" "$@" ;;
  put)
    [ $# -eq 3 ] || die "put NAME SRC DST"
    put "$@" ;;
  root) pid=$(running "$1") && echo "/proc/$pid/root" ;;
  list) list ;;
  crash) crash "$1" ;;
  freeze) running "$1" >/dev/null && echo 1 >"$(cgroup_of "$1")/cgroup.freeze" ;;
  thaw) running "$1" >/dev/null && echo 0 >"$(cgroup_of "$1")/cgroup.freeze" ;;
  stop) stop "$@" ;;
  __inside) inside "$@" ;;
  -h | --help | help) usage ;;
  *) usage >&2; exit 2 ;;
esac
