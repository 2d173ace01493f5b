#!/bin/sh
# What `cmake --install` brings of librdmafs can be used: by pkg-config in C, by find_package(rdmafs) in C++.
#   library_install_test.sh BUILD_DIR SOURCE_DIR
set -eu
build=$1 source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }

DESTDIR="$work/root" cmake --install "$build" >"$work/install.log" 2>&1 || { tail -5 "$work/install.log"; fail "install"; }
pc=$(find "$work/root" -name rdmafs.pc)
[ -n "$pc" ] || fail "no rdmafs.pc"
library=$(find "$work/root" -name 'librdmafs.so.0')
[ -n "$library" ] || fail "no librdmafs.so.0"
readelf -d "$library" | grep -q 'SONAME.*\[librdmafs.so.0\]' || fail "the soname is another"
# Nothing but the interface is shown.
shown=$(nm -D --defined-only "$library" | awk '{print $3}' | grep -v '^rdmafs_.*@@RDMAFS_0$\|^RDMAFS_0@@RDMAFS_0$\|^rdmafs_[a-z_]*$\|^RDMAFS_0$' || true)
[ -z "$shown" ] || fail "it shows $shown"

export PKG_CONFIG_PATH=$(dirname "$pc") PKG_CONFIG_SYSROOT_DIR=$work/root LD_LIBRARY_PATH=$(dirname "$library")
cc ${CFLAGS:-} -Wall -Werror -o "$work/fetch" "$source/client/examples/fetch.c" $(pkg-config --cflags --libs rdmafs)
runs() { "$1" >"$work/said" 2>&1 || true; grep -q '^usage' "$work/said" || { cat "$work/said"; fail "$1 does not run"; }; }
runs "$work/fetch"

mkdir "$work/project"
cat >"$work/project/CMakeLists.txt" <<EOF
cmake_minimum_required(VERSION 3.23)
project(user C CXX)
find_package(rdmafs 0.1 REQUIRED)
add_executable(tree $source/client/examples/tree.cc)
target_link_libraries(tree PRIVATE rdmafs::rdmafs)
EOF
package=$(find "$work/root" -name rdmafsConfig.cmake)
cmake -S "$work/project" -B "$work/project/build" -Drdmafs_DIR="$(dirname "$package")" >"$work/cmake.log" 2>&1 &&
  cmake --build "$work/project/build" >>"$work/cmake.log" 2>&1 || { tail -20 "$work/cmake.log"; fail "find_package"; }
runs "$work/project/build/tree"
