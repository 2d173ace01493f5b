"""nbdkit-rdmafs-plugin: disks out of an export, as qemu and fio see them over NBD."""
import contextlib
import os
import shutil
import signal
import subprocess

from harness.checks import NotHere, Suite, equal
from harness.processes import Failed, run, wait_until
from harness.programs import environment

suite = Suite("nbd", needs_product=True)
SUITES = [suite]
MIB = 1 << 20


@contextlib.contextmanager
def disk(site, name, *arguments):
    """The URI of a file of the export, served by nbdkit on a socket."""
    for program in ("nbdkit", "qemu-img", "qemu-io"):
        if shutil.which(program) is None:
            raise NotHere(f"there is no {program} here")
    socket = site.base / "nbd"
    socket.unlink(missing_ok=True)
    plugin = site.where.build.program("nbdkit-rdmafs-plugin.so")
    with open(site.logs / "nbdkit", "a", encoding="utf-8") as log:
        server = subprocess.Popen(
            ["nbdkit", "-f", "-U", str(socket), plugin, f"server={site.where.address}", f"export={site.export}",
             f"file={name}", f"port={site.port}", f"transport={site.where.transport}", *arguments],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(site.logs))
    try:
        wait_until(lambda: socket.exists() or server.poll() is not None, 20 * site.where.slow, "nbdkit serves")
        if server.poll() is not None:
            raise Failed((site.logs / "nbdkit").read_text(errors="replace"))
        yield f"nbd+unix:///?socket={socket}"
    finally:
        server.send_signal(signal.SIGTERM)
        status = server.wait(30)
    equal("nbdkit's exit status", status, 0)


def random_file(path, size):
    with open(path, "wb") as file:
        file.write(os.urandom(size))


@suite.check("qemu-img converts a disk in and out, and finds no difference", 300)
def convert(site):
    source = site.base / "source"
    random_file(source, 24 * MIB)
    with open(source, "r+b") as file:  # with a hole, and zeroes
        file.seek(8 * MIB)
        file.write(bytes(4 * MIB))
        file.truncate(40 * MIB)
    (site.export / "disk").touch()
    os.truncate(site.export / "disk", 40 * MIB)
    with disk(site, "disk") as uri:
        run(["qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", "-W", "-m", "8", str(source), uri], timeout=200)
        run(["qemu-img", "compare", "-f", "raw", "-F", "raw", str(source), uri], timeout=200)
        run(["qemu-img", "convert", "-f", "raw", "-O", "raw", "-m", "8", uri, str(site.base / "back")], timeout=200)
    run(["cmp", str(source), str(site.export / "disk")])
    run(["cmp", str(source), str(site.base / "back")])


@suite.check("the holes of the file are the extents of the disk")
def extents(site):
    with open(site.export / "holes", "wb") as file:
        file.truncate(16 * MIB)
        file.seek(4 * MIB)
        file.write(os.urandom(MIB))
    with disk(site, "holes") as uri:
        said = run(["qemu-img", "map", "--output=json", "-f", "raw", uri]).stdout
    equal("data at 4 MiB", '"start": 4194304, "length": 1048576' in said and
          '"data": true' in said, True)
    equal("a hole before it", '"start": 0, "length": 4194304' in said, True)


@suite.check("qemu-io's writes, fua, zeroes, trims and flushes arrive in the file")
def operations(site):
    (site.export / "io").write_bytes(b"\xaa" * (8 * MIB))
    with disk(site, "io") as uri:
        commands = ["write -P 1 0 65536", "write -f -P 2 65537 3001", "write -P 3 1M 2M", "write -z 4M 1M",
                    "write -z -u 5M 1M", "discard 6M 1M", "flush", "read -P 1 0 65536", "read -P 2 65537 3001",
                    "read -P 3 1M 2M", "read -P 0 4M 2M", "aio_write -P 4 7M 64k", "aio_flush"]
        argv = ["qemu-io", "-d", "unmap", "-f", "raw"]
        for command in commands:
            argv += ["-c", command]
        said = run([*argv, uri]).stdout
        equal("patterns that differ", said.count("Pattern verification failed"), 0)
    data = (site.export / "io").read_bytes()
    equal("the size", len(data), 8 * MIB)
    equal("written", data[:65536] == b"\1" * 65536 and data[65537:68538] == b"\2" * 3001, True)
    equal("next to it", data[65536:65537] + data[68538:68539], b"\xaa\xaa")
    equal("zeroed", data[4 * MIB:6 * MIB].count(0), 2 * MIB)
    equal("asynchronously written", data[7 * MIB:7 * MIB + 65536] == b"\4" * 65536, True)


@suite.check("a disk that is opened for reading is not written")
def read_only(site):
    random_file(site.export / "ro", MIB)
    before = (site.export / "ro").read_bytes()
    with disk(site, "ro", "-r") as uri:
        said = run(["qemu-io", "-f", "raw", "-c", "write 0 4096", uri], expect=None)
        equal("the write's success", said.returncode != 0, True)
    equal("the file", (site.export / "ro").read_bytes() == before, True)


@suite.check("fio's nbd engine verifies what it wrote", 300)
def fio(site):
    (site.export / "fio").touch()
    os.truncate(site.export / "fio", 64 * MIB)
    with disk(site, "fio") as uri:
        for block, depth in (("4k", 32), ("256k", 8), ("1m", 4)):
            run(["fio", "--name=nbd", "--ioengine=nbd", f"--uri={uri}", "--rw=randrw", f"--bs={block}", f"--iodepth={depth}",
                 "--size=64m", "--io_size=32m", "--verify=crc32c", "--verify_state_save=0", "--verify_fatal=1"],
                timeout=100 * site.where.slow)


@suite.check("what is wrong is said, and nothing is served")
def refused(site):
    for arguments, text in ((["server=127.0.0.1", "export=/no/such", f"port={site.port}", "file=x", "transport=tcp"], "export"),
                            (["file=x"], "are needed"), (["colour=red"], "unknown parameter")):
        done = run(["nbdkit", "-f", "-U", str(site.base / "no"), site.where.build.program("nbdkit-rdmafs-plugin.so"),
                    *arguments], expect=None)
        equal(f"{arguments}: failed", done.returncode != 0, True)
        equal(f"{arguments}: said", text in done.stdout, True)
