#!/bin/bash
# A shop's LAN behind a NAT firewall that lets out nothing but TCP 443, and a cloud: four network namespaces, a wire
# with delay and loss, and the faults of real networks, one command each.  Needs root, ip, nft, conntrack, sysctl, gcc.
#
#   pl-shop 10.77.1.10 --\
#                         lan 10.77.1.1 [pl-fw] wan 10.77.2.2 ==== wire ==== net 10.77.2.1 [pl-cloud] (also 10.77.9.9)
#   pl-lan  10.77.1.20 --/               NAT
#
#   up [tun|veth]     build it; veth is a faster wire without delay, loss, rate      down      remove it
#   sh NS CMD...      run in pl-NS (shop, lan, fw, cloud)                            status    counters and flows
#   wire DELAY_MS JITTER_MS LOSS_PCT RATE_MBIT [QUEUE_KB]     one way, for both ways; 0 = off
#   hole on|off       the wire silently swallows everything, both ways, new connections too
#   deadflow [SPORT]  silently swallow the shop's TCP flows that exist now, both ways; new ones work
#   flush             the NAT forgets its table (router rebooted): old flows are INVALID, silently dropped
#   idle SECONDS      NAT idle time-out of established TCP flows (432000 at first)
#   rst on|off        whoever sends on an established flow gets a RST from the firewall
#   dpi on|off        drop packets whose TCP payload begins with "SSH-"
#   direct on|off     the shop's machine gets through the firewall itself, or only through a proxy in the LAN
#   v4 on|off         IPv4 finds its way through the firewall, or not; IPv6 (fd77:1::/64, no NAT) does
#   port N on|off     let new connections out to TCP port N, or not
#   link up|down      plug in or pull the WAN cable
#   newip             the provider gives the router another address (10.77.2.2 <-> 10.77.2.3)
#   heal              end every fault above that can be ended
#
# Environment: LAB_DIR (state, compiled wire), LAB_PREFIX (default pl-: several labs side by side), CONGCTL (default
# cubic).  Touches only namespaces that it made itself, and signals only its own wire: number, start time, boot recorded.
set -euo pipefail

SELF=$(readlink -f "$0")
LAB_DIR=$(realpath -m "${LAB_DIR:-${XDG_CACHE_HOME:-${HOME:?set LAB_DIR or HOME}/.cache}/postern-lab}")
PREFIX=${LAB_PREFIX:-pl-}
STATE=$LAB_DIR/network/${PREFIX%-}
NAMESPACES=(shop lan fw cloud)
CONGCTL=${CONGCTL:-cubic}
IDLE_DEFAULT=432000 # seconds, the kernel's own default
CLEAR_WIRE="0 0 0 0 4096"

die() { echo "network: $*" >&2; exit 1; }
usage() { awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$SELF"; }

on_off() {
  case ${1:-} in
    on | off) ;;
    *) die "say on or off" ;;
  esac
}

# --- what is ours ----------------------------------------------------------------------------------------------

start_time() { # PID -> its start time in kernel ticks; nothing for a process that is gone or a zombie
  { sed 's/.*) //' "/proc/$1/stat" | awk '$1 != "Z" { print $20 }'; } 2>/dev/null || true
}

identity() { # PID -> "PID START_TIME BOOT_ID"
  echo "$1 $(start_time "$1") $(</proc/sys/kernel/random/boot_id)"
}

wire_pid() { # the wire's process, if it is still the very one that was started
  local recorded
  recorded=$(cat "$STATE/pid" 2>/dev/null) || return 1
  [ "$recorded" = "$(identity "${recorded%% *}")" ] || return 1
  echo "${recorded%% *}"
}

namespace_identity() { # NS -> "NAME INODE BOOT_ID"
  echo "$PREFIX$1 $(stat -Lc %i "/run/netns/$PREFIX$1" 2>/dev/null) $(</proc/sys/kernel/random/boot_id)"
}

ours() { grep -qxF "$(namespace_identity "$1")" "$STATE/namespaces" 2>/dev/null; }

in_ns() { # NS CMD...
  local ns=$1
  shift
  ip netns exec "$PREFIX$ns" "$@"
}

nf() { in_ns fw nft "$@"; }

# --- up and down -----------------------------------------------------------------------------------------------

up() {
  local kind=${1:-tun} ns tool
  case $kind in
    tun) make_wire_program ;;
    veth) ;;
    *) die "up tun, or up veth" ;;
  esac
  for tool in ip nft conntrack sysctl; do command -v $tool >/dev/null || die "$tool is not installed"; done
  for ns in "${NAMESPACES[@]}"; do [ ! -e "/run/netns/$PREFIX$ns" ] || die "$PREFIX$ns exists already"; done
  rm -rf "$STATE"
  mkdir -p "$STATE"
  trap down EXIT # a lab that could not be finished is taken down again
  for ns in "${NAMESPACES[@]}"; do make_namespace "$ns"; done
  make_names
  make_lan
  "make_wire_$kind"
  address_wire
  make_firewall
  trap - EXIT
}

make_namespace() {
  ip netns add "$PREFIX$1"
  namespace_identity "$1" >>"$STATE/namespaces"
  in_ns "$1" sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.default.accept_ra=0
  in_ns "$1" ip link set lo up
}

make_names() { # `ip netns exec` shows these as /etc/hosts; there is no DNS in the lab
  local ns
  for ns in shop lan cloud; do
    mkdir -p "/etc/netns/$PREFIX$ns"
    printf '127.0.0.1 localhost\n10.77.2.1 relay.test\n' >"/etc/netns/$PREFIX$ns/hosts"
  done
  echo '10.77.1.20 store.test' | tee -a "/etc/netns/${PREFIX}shop/hosts" >>"/etc/netns/${PREFIX}lan/hosts"
}

make_lan() {
  in_ns fw ip link add lan type bridge
  in_ns fw ip addr add 10.77.1.1/24 dev lan
  in_ns fw ip addr add fd77:1::1/64 dev lan nodad
  in_ns fw ip link set lan up
  plug_into_lan shop 10
  plug_into_lan lan 20
}

plug_into_lan() { # NS LAST_BYTE
  ip link add eth0 netns "$PREFIX$1" type veth peer name "lan-$1" netns "${PREFIX}fw"
  in_ns fw ip link set "lan-$1" master lan up
  in_ns "$1" ip addr add "10.77.1.$2/24" dev eth0
  in_ns "$1" ip addr add "fd77:1::$2/64" dev eth0 nodad
  in_ns "$1" ip link set eth0 up
  in_ns "$1" ip route add default via 10.77.1.1 congctl "$CONGCTL"
  in_ns "$1" ip -6 route add default via fd77:1::1 congctl "$CONGCTL"
}

make_wire_program() {
  local source program=$LAB_DIR/bin/wire
  source=$(dirname "$SELF")/wire.c
  [ ! "$program" -nt "$source" ] || return 0
  mkdir -p "$LAB_DIR/bin"
  gcc -O2 -Wall -Wextra -o "$program.$$" "$source"
  mv "$program.$$" "$program"
}

make_wire_tun() {
  local tick
  echo "$CLEAR_WIRE 0" >"$STATE/wire"
  setsid "$LAB_DIR/bin/wire" "${PREFIX}fw" wan "${PREFIX}cloud" net "$STATE/wire" </dev/null >"$STATE/wire.log" 2>&1 &
  identity $! >"$STATE/pid"
  for ((tick = 0; tick < 100; tick++)); do
    if grep -q ready "$STATE/wire.log"; then return; fi
    sleep .02
  done
  cat "$STATE/wire.log" >&2
  die "the wire did not start"
}

make_wire_veth() { ip link add wan netns "${PREFIX}fw" type veth peer name net netns "${PREFIX}cloud"; }

address_wire() {
  in_ns fw ip addr add 10.77.2.2/24 dev wan
  in_ns fw ip addr add fd77:2::2/64 dev wan nodad
  in_ns fw ip link set wan up
  in_ns fw ip route add default via 10.77.2.1
  in_ns cloud ip addr add 10.77.2.1/24 dev net
  in_ns cloud ip addr add 10.77.9.9/32 dev lo
  in_ns cloud ip addr add fd77:2::1/64 dev net nodad
  in_ns cloud ip link set net up
  in_ns cloud ip -6 route add fd77:1::/64 via fd77:2::2 congctl "$CONGCTL"
  in_ns cloud ip route replace 10.77.2.0/24 dev net src 10.77.2.1 congctl "$CONGCTL"
  in_ns cloud ip route add 10.77.1.0/24 via 10.77.2.2 # an attacker's route: what comes in is dropped by rule, not by luck
}

make_firewall() {
  nf -f - <<'NFT'
table inet fw {
  set out_ports { type inet_service; elements = { 443 } }
  counter inbound_dropped { }
  counter outbound_dropped { }
  counter invalid_dropped { }
  counter dead_dropped { }
  counter dpi_dropped { }
  chain hole { }
  chain dpi { }
  chain rst { }
  chain direct { }
  chain v4 { }
  chain input {
    type filter hook input priority filter; policy drop;
    iifname "lo" accept
    ct state established,related accept
    iifname "lan" icmp type echo-request accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    ct state invalid counter name invalid_dropped drop
    iifname "wan" counter name inbound_dropped drop
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct mark 0xdead counter name dead_dropped drop
    jump hole
    jump direct
    jump v4
    jump dpi
    ct state invalid counter name invalid_dropped drop
    jump rst
    ct state established,related accept
    iifname "lan" oifname "wan" tcp dport @out_ports ct state new accept
    iifname "wan" counter name inbound_dropped drop
    counter name outbound_dropped drop
  }
}
table ip nat {
  chain post {
    type nat hook postrouting priority srcnat;
    oifname "wan" masquerade
  }
}
NFT
  in_ns fw sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.netfilter.nf_conntrack_tcp_loose=0
  # where br_netfilter is loaded, LAN-internal frames would pass the firewall's rules
  in_ns fw sysctl -qw net.bridge.bridge-nf-call-iptables=0 2>/dev/null || true
}

down() {
  local ns pid left
  if pid=$(wire_pid); then kill -TERM "$pid"; fi
  for ns in "${NAMESPACES[@]}"; do
    if ours "$ns"; then
      left=$(ip netns pids "$PREFIX$ns" | grep -vx "${pid:-none}" | tr '\n' ' ') || true
      [ -z "$left" ] || echo "network: still running in $PREFIX$ns, left alone: $left" >&2
      ip netns del "$PREFIX$ns"
      rm -rf "/etc/netns/$PREFIX$ns"
    elif [ -e "/run/netns/$PREFIX$ns" ]; then
      echo "network: $PREFIX$ns was not made from $LAB_DIR, left alone" >&2
    fi
  done
  rm -rf "$STATE"
}

# --- faults ----------------------------------------------------------------------------------------------------

set_wire() { # "DELAY JITTER LOSS RATE QUEUE HOLE"
  local pid
  pid=$(wire_pid) || die "there is no wire to set; needs 'up tun'"
  echo "$1" >"$STATE/wire.new"
  mv "$STATE/wire.new" "$STATE/wire"
  kill -HUP "$pid"
  sleep .02 # the wire reads its file
}

wire() {
  local number hole
  [ $# -ge 4 ] || die "wire DELAY_MS JITTER_MS LOSS_PCT RATE_MBIT [QUEUE_KB]"
  for number in "$@"; do [[ $number =~ ^[0-9]+(\.[0-9]+)?$ ]] || die "wire: not a number: $number"; done
  hole=$(awk '{ print $6 }' "$STATE/wire" 2>/dev/null) || die "needs 'up tun'"
  set_wire "$1 $2 $3 $4 ${5:-4096} $hole"
}

hole() {
  on_off "$@"
  if [ -e "$STATE/wire" ]; then
    set_wire "$(cut -d' ' -f1-5 "$STATE/wire") $([ "$1" = on ] && echo 1 || echo 0)"
  else
    rule hole "$1" drop
  fi
}

rule() { # CHAIN on|off RULE...: the chain holds this one rule, or nothing
  local chain=$1 switch=$2
  shift 2
  on_off "$switch"
  nf flush chain inet fw "$chain"
  if [ "$switch" = on ]; then nf add rule inet fw "$chain" "$@"; fi
}

port() { # N on|off
  on_off "${2:-}"
  nf add element inet fw out_ports "{ $1 }"
  if [ "$2" = off ]; then nf delete element inet fw out_ports "{ $1 }"; fi
}

deadflow() {
  local said
  said=$(in_ns fw conntrack -U -p tcp -s 10.77.1.10 ${1:+--sport "$1"} -m 0xdead 2>&1) || true
  [[ $said =~ ([1-9][0-9]*)\ flow\ entries ]] || die "there is no such flow"
  echo "flows that are dead now: ${BASH_REMATCH[1]}"
}

idle() {
  [[ ${1:-} =~ ^[0-9]+$ ]] || die "idle SECONDS"
  in_ns fw sysctl -qw "net.netfilter.nf_conntrack_tcp_timeout_established=$1"
}

link() {
  case ${1:-} in
    up) in_ns fw ip link set wan up && in_ns fw ip route replace default via 10.77.2.1 ;;
    down) in_ns fw ip link set wan down ;;
    *) die "link up, or link down" ;;
  esac
}

newip() {
  local old new=10.77.2.2/24
  old=$(in_ns fw ip -4 -o addr show wan | awk '{ print $4 }')
  if [ "$old" = "$new" ]; then new=10.77.2.3/24; fi
  in_ns fw ip addr del "$old" dev wan
  in_ns fw ip addr add "$new" dev wan
  in_ns fw ip route replace default via 10.77.2.1
  in_ns cloud ip route replace 10.77.1.0/24 via "${new%/24}"
  echo "${new%/24}"
}

heal() {
  if [ -e "$STATE/wire" ]; then set_wire "$CLEAR_WIRE 0"; else rule hole off; fi
  rule rst off
  rule dpi off
  rule direct off
  rule v4 off
  nf flush set inet fw out_ports
  port 443 on
  idle $IDLE_DEFAULT
  link up
}

status() {
  local pid
  if pid=$(wire_pid); then
    kill -USR1 "$pid"
    sleep .05
    awk '{ printf "wire: delay %s ms, jitter %s ms, loss %s %%, rate %s Mbit/s, ", $1, $2, $3, $4
           printf "queue %s KB, hole %s\n", $5, $6 }' "$STATE/wire"
    tail -1 "$STATE/wire.log"
  fi
  nf list counters table inet fw | awk '/counter/ { name = $2 } /packets/ { print name ": " $2 " packets, " $4 " bytes" }'
  in_ns fw conntrack -L 2>/dev/null
}

verb=${1:-}
shift || true
case $verb in
  -h | --help | help | '') ;;
  *) [ "$(id -u)" = 0 ] || die "needs root" ;;
esac
case $verb in
  up | -h | --help | help | down | '') ;;
  *) ours fw || die "there is no lab of this LAB_DIR and prefix; begin with: $0 up" ;;
esac
case $verb in
  up | down | wire | hole | deadflow | idle | link | newip | heal | status) "$verb" "$@" ;;
  sh)
    [ $# -ge 2 ] || die "sh NS CMD..."
    ours "$1" || die "no namespace $PREFIX$1"
    exec ip netns exec "$PREFIX$1" "${@:2}" ;;
  flush) in_ns fw conntrack -F 2>&1 ;;
  rst) rule rst "${1:-}" ct state established meta l4proto tcp reject with tcp reset ;;
  dpi) rule dpi "${1:-}" meta l4proto tcp @ih,0,32 0x5353482d counter name dpi_dropped drop ;;
  direct)
    case ${1:-} in
      on) rule direct off ;;
      off) rule direct on iifname lan ip saddr 10.77.1.10 drop ;;
      *) die "direct on, or direct off" ;;
    esac ;;
  v4)
    case ${1:-} in
      on) rule v4 off ;;
      off) rule v4 on meta nfproto ipv4 drop ;;
      *) die "v4 on, or v4 off" ;;
    esac ;;
  port)
    [[ ${1:-} =~ ^[0-9]+$ ]] || die "port N on|off"
    port "$@" ;;
  -h | --help | help) usage ;;
  *) usage >&2; exit 2 ;;
esac
