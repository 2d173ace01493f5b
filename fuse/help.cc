// What rdmafs --help says.
#include "fuse/mount_options.h"

namespace rdmafs::fuse {

std::string HelpText() {
  return R"(usage: rdmafs HOST:DIR MOUNTPOINT [-f] [-d] [-o option[,option...]]
       mount -t fuse.rdmafs HOST:DIR MOUNTPOINT [-o option[,option...]]

Mounts a directory that rdmafsd exports on HOST (a name, an IPv4 address or an [IPv6 address]), over
RDMA, or over TCP where there is no RDMA device. umount MOUNTPOINT, or fusermount3 -u, ends it.

    -f                    stay in the foreground, log to standard error
    -d                    as -f, and log every request
    -r                    as -o ro
    -h, --help            this text
    -V, --version         the version

Connection:
    -o transport=auto     auto, rdma or tcp
    -o port=20490         the server's port
    -o nconnect=4         TCP connections of the session, 1 to 16
    -o hard, -o soft      wait for a lost server without end (hard, the default), or ...
    -o timeout=60         ... give up after so many seconds

Security:
    -o sec=sys            sys: the server knows this host by its address; psk: both ends prove a key
    -o key=/etc/rdmafs/keys  the key file, of mode 0600
    -o key_name=NAME      which key of the file (default: its first)
    -o mr=cache           how the server reaches memory over RDMA. cache: by registrations that
                          stay; window: each call's bytes until its reply, where both ends can
    -o tls                TLS 1.3, over TCP; with sec=psk by the key, else by certificates:
    -o ca=FILE            whose certificates the server may show, for its name or address
    -o cert=FILE, cert_key=FILE  a certificate of this host to show, and its private key (mode 0600)
    -o xprtsec=tls        as tls, in mount.nfs's words (none, tls, mtls)

Caching (close-to-open unless said otherwise):
    -o cache=auto         auto: an open drops cached pages if the file has changed; none: nothing is
                          cached; always: pages are kept (for files that no one else writes)
    -o direct_io          as cache=none
    -o sync, -o async     whether writes are on the server's disk before they are answered; async
    -o writeback          the kernel gathers writes (one client writes a file at a time)
    -o attr_timeout=1     seconds that attributes are believed
    -o entry_timeout=1    seconds that names are believed
    -o negative_timeout=0 seconds that a name is believed not to be there

Read-ahead of its own (the kernel has one for the page cache):
    -o read_ahead=auto    auto: where the kernel does not read ahead (direct_io, cache=none) or the
                          round trip is longer than its window lasts; on; off
    -o ra_max=8M          bytes fetched ahead of one reader
    -o ra_total=32M       memory for data fetched ahead; at most half of pool_size

Access:
    -o ro                 read only
    -o allow_other        other users may use the mount
    -o default_permissions  the kernel checks permissions (it always does here)
    -o suid, dev, exec, atime, ... and their opposites as in mount(8)

Resources:
    -o max_read=1M        bytes of one read request, 4K to 1M
    -o pool_size=64M      memory for data on its way
    -o shards=N           threads (default: the number of cores, at most 4)
    -o io_uring=auto      FUSE over io_uring where the kernel has it switched on (6.14 and newer);
                          on: fail without it; off: never
    -o log_level=notice   error, warning, notice, info or debug
)";
}

}  // namespace rdmafs::fuse
