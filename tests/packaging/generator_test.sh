#!/bin/sh
# rdmafsd-generator: which order of units comes from which exports and fstab.
set -eu
generator=$1
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
mkdir -p "$directory/etc/rdmafs" "$directory/bin"
# As systemd-escape --path: what is needed of it.
cat >"$directory/bin/systemd-escape" <<'END'
#!/bin/sh
printf '%s.mount\n' "$(printf %s "$3" | sed -e 's,^/,,' -e 's,-,\\x2d,g' -e 's, ,\\x20,g' -e 's,/,-,g')"
END
chmod 755 "$directory/bin/systemd-escape"

# expect WHAT EXPECTED: what the files in etc give
expect() {
  rm -rf "$directory/out"
  PATH=$directory/bin:$PATH RDMAFS_ETC=$directory/etc "$generator" "$directory/out" /none /none
  got=$(grep -vE '^(#|\[)' "$directory/out/rdmafsd.service.d/50-order.conf" 2>/dev/null || true)
  [ "$got" = "$2" ] || { printf 'FAILED: %s: %s\ninstead of: %s\n' "$1" "$got" "$2"; exit 1; }
}
exports() { cat >"$directory/etc/rdmafs/exports"; }
fstab() { cat >"$directory/etc/fstab"; }

expect "no files, no order" ''
exports <<'END'
# /srv/none *(rw)

/srv/data  10.0.0.0/8(rw) \
   *(ro)
"/srv/two words" *(rw)
/srv/three\040words *(rw)
/srv/100% *(rw)
/srv/quo\042te *(rw)
END
fstab <<'END'
# host:/x /mnt/none rdmafs rw 0 0
proc /proc proc defaults 0 0
END
expect "exports" 'RequiresMountsFor="/srv/data"
RequiresMountsFor="/srv/two words"
RequiresMountsFor="/srv/three words"
RequiresMountsFor="/srv/100%%"'
exports <<'END'
/srv/data *(rw)
END
fstab <<'END'
host:/x  /mnt/a-b            fuse.rdmafs  _netdev 0 0
host:/x  /mnt/two\040words   rdmafs       noauto 0 0
host:/x  /mnt/nfs            nfs          defaults 0 0
END
expect "mounts" 'RequiresMountsFor="/srv/data"
Before=mnt-a\x2db.mount
Before=mnt-two\x20words.mount'
fstab <<'END'
host:/x  /srv       rdmafs  defaults 0 0
host:/x  /srv/dat   rdmafs  defaults 0 0
END
expect "a mount that an export lies on" 'RequiresMountsFor="/srv/data"
Before=srv-dat.mount'
