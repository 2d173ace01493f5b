"""A guest of User Mode Linux: a kernel that runs as a process. Quick, and it has rxe and siw."""
import os
import pathlib

import guest

SHARE = 'mount -t hostfs -o "$1" hostfs "$3"'
CHANGE_ROOT = ("cd /root; mkdir .old; pivot_root . .old\n"
               "exec chroot . /bin/bash /run/lab/stage-two </dev/console >/dev/console 2>&1")
# perftest reads the clock in /proc/cpuinfo, and UML's has none there.
CLOCK = """
for cpu in $(seq 0 $(($(nproc) - 1))); do
  printf 'processor\\t: %d\\ncpu MHz\\t\\t: {mhz}\\n\\n' $cpu
done > /run/cpuinfo
mount --bind /run/cpuinfo /proc/cpuinfo
"""


def kernel():
    """The UML kernel: of RDMAFS_UML_KERNEL, or ../shared/lab/uml/linux beside the checkout; or None."""
    beside = pathlib.Path(__file__).resolve().parents[3] / "shared/lab/uml/linux"
    given = os.environ.get("RDMAFS_UML_KERNEL")
    if given:
        return pathlib.Path(given)
    return beside if os.access(beside, os.X_OK) else None


def prepare(run_directory, exchange, arguments):
    """Returns the command line of the guest's kernel."""
    program = kernel()
    if not program or not os.access(program, os.X_OK):
        raise FileNotFoundError(f"no UML kernel ({program}): set RDMAFS_UML_KERNEL, or use --qemu")
    root = run_directory / "root"
    root.mkdir()
    guest.write_root(root, SHARE, str(exchange), CHANGE_ROOT)
    guest.write_exchange(exchange, arguments, SHARE, "/run/lab/output",
                         first=CLOCK.format(mhz=guest.first_mhz()))
    return [str(program), f"mem={arguments.memory}M", f"ncpus={arguments.cpus}", "umid=lab",
            f"uml_dir={run_directory}", "root=/dev/root", "rootfstype=hostfs", f"rootflags={root}", "rw",
            "init=/init", "seccomp=on", "con=null", "con0=null,fd:1", "con1=null", "ssl=null", "panic=-1"]
