#!/bin/sh
# The manual pages are without fault, and refer to each other only: man_pages_test.sh DIRECTORY
set -u
failures=0
for page in "$1"/*; do
  mandoc -Tlint -W warning "$page" || failures=1
  sed -n 's/^\.Xr \(rdmafs[^ ]*\) \([0-9]\).*/\1.\2/p' "$page" | sort -u | while read -r other; do
    [ -f "$1/$other" ] || { echo "$page refers to $other, which is not there"; exit 1; }
  done || failures=1
done
exit $failures
