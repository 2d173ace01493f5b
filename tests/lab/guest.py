"""What runs inside the guest before the command: file systems, network, the software RDMA device."""
import os
import pathlib
import shlex
import shutil

ADDRESS = "10.77.0.1"

# Stage one, busybox's: this machine's files, read-only, with a tmpfs over them, become the root.
STAGE_ONE = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
for module in $(cat /modules/order 2>/dev/null); do
  insmod /modules/$module || echo "stage one: $module cannot be loaded"
done
share() {{ {share}; }}
stop() {{ echo "stage one: $1"; poweroff -f; }}
share / host /host ro || stop "no view of the host's files"
mount -t tmpfs -o size=75% tmpfs /over
mkdir /over/upper /over/work
mount -t overlay -o lowerdir=/host,upperdir=/over/upper,workdir=/over/work overlay /root || stop "no overlay"
mount -t tmpfs tmpfs /root/run
mkdir /root/run/lab
share {exchange} exchange /root/run/lab rw || stop "no exchange directory"
for each in proc sys dev; do mount --move /$each /root/$each; done
{change_root}
"""

# Stage two, bash's: the rest of a usual system, the device, the command.
STAGE_TWO = """
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t fusectl fusectl /sys/fs/fuse/connections 2>/dev/null
for link in fd: stdin:/0 stdout:/1 stderr:/2; do ln -sfn /proc/self/fd${{link#*:}} /dev/${{link%%:*}}; done
echo lab > /proc/sys/kernel/hostname
ip link set lo up
ip link add lab0 mtu 9000 type veth peer name lab1 mtu 9000
ip addr add {address}/24 dev lab0
ip link set lab0 up
ip link set lab1 up
status=0
case {device} in rxe | siw) rdma link add {device}0 type {device} netdev lab0 || status=125;; esac
ulimit -l unlimited
ulimit -n 65536
share() {{ {share}; }}
{shares}
cd {directory} 2>/dev/null || cd /
if [ $status = 0 ]; then
  setsid bash /run/lab/command </dev/null >{output} 2>&1
  status=$?
fi
echo $status > /run/lab/status
sync
echo o > /proc/sysrq-trigger 2>/dev/null
sleep 5
/run/lab/busybox poweroff -f
sleep 30
"""


def write_exchange(exchange, arguments, share, output, first=""):
    """Fills the directory that host and guest share: stage two (which begins with the script `first`),
    the command, busybox."""
    environment = {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "HOME": "/root",
                   "TERM": "dumb", "LAB_DEVICE": arguments.device, "LAB_ADDRESS": ADDRESS}
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
    shares = "\n".join(f"mkdir -p {shlex.quote(path)}; share {shlex.quote(path)} share{number} "
                       f"{shlex.quote(path)} rw" for number, path in enumerate(arguments.writable))
    stage_two = STAGE_TWO.format(address=ADDRESS, device=arguments.device, share=share, shares=shares,
                                 directory=shlex.quote(os.getcwd()), output=output)
    (exchange / "stage-two").write_text(exports + first + stage_two)
    (exchange / "command").write_text("exec " + " ".join(map(shlex.quote, arguments.command)) + "\n")
    (exchange / "output").touch()
    shutil.copy(shutil.which("busybox"), exchange / "busybox")


def write_root(root, share, exchange, change_root):
    """The small root that stage one runs in: busybox and nothing else."""
    for name in ("bin", "dev", "host", "modules", "over", "proc", "root", "sys"):
        (root / name).mkdir(exist_ok=True)
    shutil.copy(shutil.which("busybox"), root / "bin/busybox")
    for applet in ("cat", "chroot", "echo", "insmod", "mkdir", "mount", "pivot_root", "poweroff", "sh",
                   "switch_root"):
        link = root / "bin" / applet
        if not link.is_symlink():
            link.symlink_to("busybox")
    init = root / "init"
    init.write_text(STAGE_ONE.format(share=share, exchange=exchange, change_root=change_root))
    init.chmod(0o755)


def first_mhz():
    """The host's clock, for programs that look for it in /proc/cpuinfo."""
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("cpu MHz"):
            return line.split(":")[1].strip()
    return "2000.000"
