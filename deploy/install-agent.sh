#!/bin/bash
# Installs the Postern agent as a systemd service on this machine, updates it, or takes it away again. Needs root.
#
#   install-agent.sh --relay URL --store ORIGIN[=ADDRESS:PORT] [--store …] [--ca-file FILE]
#                                  install; or update with other settings
#   install-agent.sh               update the program; settings and token stay as they are
#   install-agent.sh --new-token   the same, with another access token
#   install-agent.sh --uninstall [--purge]
#                                  remove service and program; --purge: settings, token and key as well
#   --from PATH   where the program comes from: a checkout (by default the one that holds this script), a wheel, or a
#                 directory of wheels, with which nothing is fetched from the network
#
# The access token is asked for on a terminal, else read from standard input (one line); it is never an argument. It is
# kept in /etc/postern/agent.token (0600), the settings in /etc/postern/agent.toml, the program in /opt/postern.
# PYTHON names another python3 than the one in the path; 3.11 is the oldest that will do.
# Exit status: 0 done, 1 failed, 2 wrong usage.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # whoever calls it with sh
set -euo pipefail

SOURCE=$(dirname "$(readlink -f "$0")")/..
UNIT=postern-agent.service
UNIT_FILE=/etc/systemd/system/$UNIT
PROGRAM=/opt/postern
COMMAND=/usr/local/bin/postern-agent
SETTINGS=/etc/postern/agent.toml
TOKEN_FILE=/etc/postern/agent.token
CA_FILE=/etc/postern/agent-ca.pem
PYTHON=${PYTHON:-python3}

relay='' stores=() ca_file='' from=$SOURCE new_token='' uninstall='' purge=''

main() {
  read_arguments "$@"
  [ "$(id -u)" = 0 ] || fail "needs root: try with sudo"
  [ -d /run/systemd/system ] || fail "systemd does not run on this machine; start the agent with 'postern-agent run'"
  if [ -n "$uninstall" ]; then
    remove
    return
  fi
  check_python
  check_settings
  take_token
  install_program
  write_settings
  start_service
  report
}

usage() { awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; }

fail() {
  echo "install-agent: $*" >&2
  exit 1
}

misused() {
  echo "install-agent: $*; see --help" >&2
  exit 2
}

read_arguments() {
  while [ $# -gt 0 ]; do
    case $1 in
      --relay | --store | --ca-file | --from) [ -n "${2:-}" ] || misused "$1 needs a value" ;;
    esac
    case $1 in
      --relay) relay=$2; shift ;;
      --store) stores+=("$2"); shift ;;
      --ca-file) ca_file=$2; shift ;;
      --from) from=$2; shift ;;
      --new-token) new_token=1 ;;
      --uninstall) uninstall=1 ;;
      --purge) purge=1 ;;
      -h | --help) usage; exit 0 ;;
      *) misused "unknown argument ${1%%=*}" ;;
    esac
    shift
  done
  [ -z "$purge" ] || [ -n "$uninstall" ] || misused "--purge goes with --uninstall"
}

check_python() {
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    fail "Python 3.11 or newer is needed as $PYTHON (apt-get install python3), or PYTHON=/path/to/python3.11"
  "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || fail "Python's venv is missing: apt-get install python3-venv"
}

check_settings() {
  local value
  if [ -z "$relay" ] && [ ${#stores[@]} = 0 ] && [ -z "$ca_file" ]; then
    [ -e "$SETTINGS" ] || misused "--relay and --store are needed the first time"
    return
  fi
  if [ -z "$relay" ] || [ ${#stores[@]} = 0 ]; then misused "--relay and --store go together"; fi
  [ -z "$ca_file" ] || [ -r "$ca_file" ] || fail "cannot read $ca_file"
  for value in "$relay" "${stores[@]}"; do
    [[ $value =~ ^[][A-Za-z0-9.:/=_-]+$ ]] || misused "not an address: $value"
  done
}

# --- the token: through this shell alone, never in the arguments of a process ------------------------------------

take_token() {
  local token
  if [ -s "$TOKEN_FILE" ] && [ -z "$new_token" ]; then return; fi
  if [ -t 0 ]; then
    read -rsp "Access token of this agent (not shown): " token
    echo
  else
    read -r token || [ -n "$token" ] || fail "no access token on standard input"
  fi
  [[ $token =~ ^postern_[A-Za-z2-7]+$ ]] || fail "that is no access token: one begins with postern_ (nothing was changed)"
  install -d -m 0755 /etc/postern
  (umask 077 && printf '%s\n' "$token" >"$TOKEN_FILE.new")
  mv "$TOKEN_FILE.new" "$TOKEN_FILE"
}

# --- program, settings, service ----------------------------------------------------------------------------------

install_program() {
  local what=("$from")
  if ! "$PROGRAM/bin/python" -c 'import pip' 2>/dev/null; then "$PYTHON" -m venv --clear "$PROGRAM"; fi
  if compgen -G "$from/*.whl" >/dev/null; then what=(--no-index --find-links "$from" postern); fi
  "$PROGRAM/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --upgrade "${what[@]}" ||
    fail "the program could not be installed from $from"
  install -d /usr/local/bin
  ln -sfn "$PROGRAM/bin/postern-agent" "$COMMAND"
}

write_settings() {
  local store list=''
  [ -n "$relay" ] || return 0
  for store in "${stores[@]}"; do list+="${list:+, }\"$store\""; done
  if [ -n "$ca_file" ]; then install -m 0644 "$ca_file" "$CA_FILE"; fi
  {
    echo "relay = \"$relay\""
    echo "stores = [$list]"
    [ -z "$ca_file" ] || echo "ca_file = \"$CA_FILE\""
  } >"$SETTINGS.new"
  chmod 0644 "$SETTINGS.new"
  mv "$SETTINGS.new" "$SETTINGS"
}

start_service() {
  install -m 0644 "$SOURCE/systemd/$UNIT" "$UNIT_FILE"
  systemctl daemon-reload
  systemctl enable --quiet "$UNIT"
  systemctl restart "$UNIT" && return
  journalctl --unit "$UNIT" --identifier postern-agent --lines 1 --output cat >&2 || true
  fail "the agent does not start, for the reason above: run this again with other settings, or with --new-token"
}

report() {
  local tick said
  for ((tick = 0; tick < 20; tick++)); do
    if said=$("$COMMAND" status 2>/dev/null) && [[ $said != *degraded* ]]; then break; fi
    sleep 0.5
  done
  if "$COMMAND" status; then
    echo "The agent is installed. What a look at everything between it, the relay and the stores finds:"
  else
    echo "The agent is installed and goes on trying, but has no tunnel yet. What is in the way:"
  fi
  "$COMMAND" check --config "$SETTINGS" --token-file "$TOKEN_FILE" || true
}

remove() {
  if [ -e "$UNIT_FILE" ]; then
    systemctl disable --quiet --now "$UNIT"
    rm -f "$UNIT_FILE"
    systemctl daemon-reload
  fi
  if [ ! -e /etc/systemd/system/postern-relay.service ]; then rm -rf "$PROGRAM"; fi # the relay lives there as well
  rm -f "$COMMAND"
  if [ -n "$purge" ]; then
    rm -f "$SETTINGS" "$TOKEN_FILE" "$CA_FILE"
    rm -rf /var/lib/private/postern-agent /var/lib/postern-agent
    rmdir --ignore-fail-on-non-empty /etc/postern 2>/dev/null || true
  fi
  echo "The agent is removed${purge:+, with its settings, token and key}."
}

main "$@"
