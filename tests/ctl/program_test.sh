#!/bin/sh
# The exit statuses and outputs that scripts rely on: program_test.sh PATH-OF-RDMAFSCTL
set -u
ctl=$1
empty=$(mktemp -d)
trap 'rm -r "$empty"' EXIT
failures=0

# expect STATUS TEXT ARGUMENTS...: runs rdmafsctl and looks for TEXT in what it prints.
expect() {
  want=$1 text=$2
  shift 2
  output=$("$ctl" "$@" 2>&1)
  status=$?
  if [ $status -ne "$want" ] || ! printf '%s' "$output" | grep -qF -- "$text"; then
    echo "rdmafsctl $*: exit status $status (not $want), or no \"$text\" in: $output"
    failures=$((failures + 1))
  fi
}

expect 0 'Usage: rdmafsctl' --help
expect 0 'rdmafsctl ' --version
expect 2 'a command is missing'
expect 2 'unknown command "strat"' strat
expect 1 '/dev/fuse is not there' doctor --root "$empty"
expect 1 '"fine": false' doctor --json --root "$empty"
expect 1 'ENOENT' status "$empty/none"
expect 1 '[]' status --json "$empty/none"
exit $((failures != 0))
