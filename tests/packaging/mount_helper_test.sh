#!/bin/sh
# What the mount helper makes of the command lines that mount(8) gives it: mount_helper_test.sh MOUNT.RDMAFS.IN
set -u
directory=$(mktemp -d)
trap 'rm -r "$directory"' EXIT
# Stands for rdmafs: shows its arguments, one to a line.
printf '#!/bin/sh\nfor a; do echo "[$a]"; done\nexit ${RDMAFS_TEST_STATUS-0}\n' >"$directory/rdmafs"
# Who asks.
printf '#!/bin/sh\necho ${RDMAFS_TEST_UID-1000}\n' >"$directory/id"
PATH=$directory:$PATH
sed "s|@RDMAFS_PROGRAM@|$directory/rdmafs|" "$1" >"$directory/mount.rdmafs"
chmod 755 "$directory"/*
failures=0

# expect STATUS "[word][word]..." ARGUMENTS...
expect() {
  want_status=$1 want=$2
  shift 2
  got=$("$directory/mount.rdmafs" "$@" 2>/dev/null)
  status=$?
  got=$(printf %s "$got" | tr -d '\n')
  if [ $status -ne "$want_status" ] || [ "$got" != "$want" ]; then
    echo "mount.rdmafs $*: status $status, $got; expected $want_status, $want"
    failures=$((failures + 1))
  fi
}

expect 0 '[s:/e][/mnt]' s:/e /mnt
expect 0 '[s:/e][/mnt][-o][rw,transport=tcp]' s:/e /mnt -o rw,transport=tcp
expect 0 '[s:/e][/mnt][-o][ro]' s:/e /mnt -sn -v -o ro -t fuse.rdmafs
expect 0 '[s:/e][/mnt][-o][rw,nodev,ro]' s:/e /mnt -o rw,_netdev,nofail,noauto,x-systemd.automount,nodev -o ro
expect 0 '[s:/e][/mnt]' s:/e /mnt -o defaults,user=hans
expect 0 '[s:/e x][/mnt/a *]' 's:/e x' '/mnt/a *' -o '_netdev'
expect 0 '' s:/e /mnt -f -o rw
expect 0 '[--version]' --version
# mount(8) gives only what is not its default; suid and dev are. A line of fstab with `user` comes with their opposites.
RDMAFS_TEST_UID=0
export RDMAFS_TEST_UID
expect 0 '[s:/e][/mnt][-o][suid,dev]' s:/e /mnt
expect 0 '[s:/e][/mnt][-o][rw,transport=tcp,suid,dev]' s:/e /mnt -o rw,transport=tcp
expect 0 '[s:/e][/mnt][-o][rw,nodev,suid]' s:/e /mnt -o rw,nodev
expect 0 '[s:/e][/mnt][-o][rw,noexec,nosuid,nodev]' s:/e /mnt -o rw,noexec,nosuid,nodev,user
unset RDMAFS_TEST_UID
# A remount is the kernel's: by mount(8), without asking this helper again.
printf '#!/bin/sh\nfor a; do echo "<$a>"; done\n' >"$directory/mount"
chmod 755 "$directory/mount"
expect 0 '<-i><--options-source><disable><-o><remount,ro,noexec,noatime><s:/e></mnt>' \
  s:/e /mnt -o remount,ro,noexec,noatime,transport=tcp,allow_other,user_id=0
expect 1 '' s:/e
expect 1 '' s:/e /mnt extra
expect 1 '' s:/e /mnt -Q
RDMAFS_TEST_STATUS=1
export RDMAFS_TEST_STATUS
expect 1 '[s:/e][/mnt]' s:/e /mnt
exit $((failures != 0))
