"""The kernel's NFS over RDMA on the same host, device and directory: the peer that people know."""
import os
import time

from harness.processes import run

NEEDED = ("/usr/sbin/rpc.nfsd", "/usr/sbin/rpc.mountd", "/usr/sbin/exportfs", "/sbin/mount.nfs4",
          "/sbin/rpcbind")
PORT = 20049
THREADS = 8
# No client is here to reclaim what it had before the server started, so nobody gains by a long wait.
GRACE_SECONDS = 10


def missing():
    """What is not installed of Debian's nfs-kernel-server and nfs-common."""
    return [path for path in NEEDED if not os.access(path, os.X_OK)]


def serve(directory):
    """Starts the kernel's server with one export, the root of NFS version 4, and lets it listen on RDMA."""
    os.makedirs("/var/lib/nfs/v4recovery", exist_ok=True)
    run(["mount", "-t", "nfsd", "nfsd", "/proc/fs/nfsd"])
    for setting in ("nfsv4gracetime", "nfsv4leasetime"):
        write(f"/proc/fs/nfsd/{setting}", GRACE_SECONDS)
    run(["rpcbind", "-w"], expect=None)
    run(["exportfs", "-o", "rw,no_root_squash,fsid=0,insecure,no_subtree_check", f"*:{directory}"])
    run(["rpc.mountd"], expect=None)
    run(["rpc.nfsd", "-N", "3", str(THREADS)])
    write("/proc/fs/nfsd/portlist", f"rdma {PORT}")
    time.sleep(GRACE_SECONDS + 2)  # until then every open waits


def mount(address, point):
    point.mkdir()
    run(["mount", "-t", "nfs4", "-o", f"rdma,port={PORT},vers=4.2", f"{address}:/", str(point)], timeout=60)


def unmount(point):
    run(["umount", "-f", "-l", str(point)], timeout=30, expect=None)
    run(["rpc.nfsd", "0"], timeout=30, expect=None)


def write(path, value):
    with open(path, "w", encoding="ascii") as file:
        file.write(f"{value}\n")
