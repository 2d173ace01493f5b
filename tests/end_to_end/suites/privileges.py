"""Privileges that a file gives who executes it: suid, sgid, capabilities. Whoever changes its data takes them."""
import errno
import mmap
import os

from harness.checks import Suite, equal
from harness.processes import run

suite = Suite("privileges")
SUITES = [suite]

CAPABILITY = "security.capability"
NET_BIND = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service=ep


def changes_of_data(file, source):
    return {
        "a direct write": lambda: write_direct(file),
        "a write": lambda: os.pwrite(os.open(file, os.O_WRONLY), b"z", 0),
        "fallocate": lambda: os.posix_fallocate(os.open(file, os.O_WRONLY), 0, 8192),
        "copy_file_range": lambda: os.copy_file_range(os.open(source, os.O_RDONLY), os.open(file, os.O_WRONLY), 4096),
        "a truncating open": lambda: os.open(file, os.O_WRONLY | os.O_TRUNC),
        "truncate": lambda: os.truncate(file, 100),
    }


def write_direct(path):
    with mmap.mmap(-1, 4096) as page:  # aligned
        os.pwrite(os.open(path, os.O_WRONLY | os.O_DIRECT), page, 0)


def in_child_as(uid, function):
    """0 when it returned, else the errno of what it raised."""
    child = os.fork()
    if child == 0:
        status = 255
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            function()
            status = 0
        except OSError as error:
            status = error.errno
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# stat(1) asks for the mode alone here, which a change of the data leaves in the kernel's cache. generic/355 of xfstests.
@suite.check("who asks for the mode alone sees at once that suid and sgid were cleared")
def mode_alone(site):
    def mode_of(path):
        return run(["stat", "-c", "%a", str(path)]).stdout.strip()
    for directory in site.case_directories():
        directory.chmod(0o755)
        file, source = directory / "f", directory / "source"
        source.write_bytes(b"x" * 8192)
        for what, change in changes_of_data(file, source).items():
            file.write_bytes(b"y" * 4096)
            os.chown(file, 1001, 1001)
            file.chmod(0o6755)
            equal(f"{directory}: the mode before {what}", mode_of(file), "6755")
            equal(what, in_child_as(1001, change), 0)
            equal(f"{directory}: the mode after {what}", mode_of(file), "755")
            file.unlink()


# The kernel of the client takes them with removexattr(2) as the user, who may not do that. generic/688 of xfstests.
@suite.check("what a user changes has no capabilities any more, and nobody else can take them")
def capabilities(site):
    for directory in site.case_directories():
        directory.chmod(0o755)
        file, source = directory / "f", directory / "source"
        source.write_bytes(b"x" * 8192)
        changes = {**changes_of_data(file, source), "chown": lambda: os.chown(file, -1, 1001)}  # pylint: disable=cell-var-from-loop
        for what, change in changes.items():
            file.write_bytes(b"y" * 4096)
            os.chown(file, 1001, 1001)
            os.setxattr(file, CAPABILITY, NET_BIND)
            for user in (1001, 1002):
                equal("removexattr", in_child_as(user, lambda: os.removexattr(file, CAPABILITY)), errno.EPERM)
            equal(f"{directory}: {what} by another user", in_child_as(1002, change) != 0, True)
            equal("attributes", os.listxattr(file), [CAPABILITY])
            file.chmod(0o500 if what == "chown" else 0o755)
            equal(f"{directory}: {what}", in_child_as(1001, change), 0)
            equal(f"{directory}: attributes after {what}", os.listxattr(file), [])
            file.unlink()
