"""What the server is not asked, because its answers have said it already: counted at the server."""
import errno
import os

from harness.checks import Suite, equal
from harness.processes import run

SUITES = []
FILES = 50


def asked(site):
    """How often the server was asked what, so far. A release has no one who waits for it, and is not counted."""
    operations = site.document("stats", f"/run/rdmafs/rdmafsd.{site.server.pid}")["operations"]
    return {name: operation["count"] for name, operation in operations.items() if name not in ("RELEASE", "FORGET")}


def case(site):
    """A new directory, as the mount and as the server's side has it."""
    directory, _ = site.case_directories()
    return directory, site.export / directory.name


def during(site, work):
    before = asked(site)
    work()
    return {name: count - before.get(name, 0) for name, count in asked(site).items() if count != before.get(name, 0)}


def xattrs_are_asked_for(behind):
    """Whether the server's file system is one of those (a small kernel's tmpfs) that do not know security.* or ACLs:
    it gives another errno for them than that there are none, and only it can."""
    for name in ("security.capability", "security.selinux", "system.posix_acl_access", "system.posix_acl_default"):
        try:
            os.getxattr(behind, name)
        except OSError as error:
            if error.errno != errno.ENODATA:
                return True
    return False


def one_by_one(directory, act, count=FILES):
    for number in range(count):
        act(directory / f"file{number}")


def write(path):
    path.write_bytes(b"content")


def names(site):
    """A name that is made, filled, linked, moved or removed asks for what it is itself, and nothing of its directory."""
    directory, behind = case(site)
    made = during(site, lambda: one_by_one(directory, write))
    equal("calls for new files", [made["CREATE"], made["WRITE"]], [FILES, FILES])
    equal("capabilities are asked for", made.get("GETXATTR", 0) > 0, xattrs_are_asked_for(behind))
    few("questions of the directory", made.get("GETATTR", 0))
    moved = during(site, lambda: one_by_one(directory, lambda path: path.rename(path.with_suffix(".moved"))))
    equal("calls for moved files", moved["RENAME"], FILES)
    few("questions of the directory", moved.get("GETATTR", 0))
    removed = during(site, lambda: one_by_one(directory, lambda path: path.with_suffix(".moved").unlink()))
    equal("calls for removed files", removed["UNLINK"], FILES)
    few("questions of the directory", removed.get("GETATTR", 0))


def few(what, count):
    """One for each second that attributes are believed is as it should be."""
    if count > FILES // 2:
        equal(what, count, "few")


def listing(site):
    """A directory that fits into one answer (of 4 KiB on older kernels) is read in one call, and `ls -l` asks nothing of
    its files."""
    directory, behind = case(site)
    one_by_one(behind, write, 5)
    listed = during(site, lambda: run(["ls", "-l", str(directory)]))
    equal("calls that list", listed["READDIR"], 1)
    equal("attributes are asked for", listed.get("GETXATTR", 0) > 0, xattrs_are_asked_for(behind))
    equal("names", sorted(os.listdir(directory)), sorted(os.listdir(behind)))


def what_is_there_is_shown(site):
    """An attribute that was set, here or by who works on the directory itself, is found."""
    directory, behind = case(site)
    write(directory / "here")
    run(["ls", "-l", str(directory)])
    run(["setfacl", "-m", "u:1234:r", str(directory / "here")])
    equal("ACL set through the mount", "1234" in run(["getfacl", "-cn", str(directory / "here")]).stdout, True)
    os.setxattr(directory / "here", "trusted.x", b"v")
    equal("list", "trusted.x" in os.listxattr(directory / "here"), True)
    write(behind / "there")
    os.setxattr(behind / "there", "trusted.x", b"v")
    equal("list of what the server's side set", "trusted.x" in os.listxattr(directory / "there"), True)


def removed_directory(site):
    """A directory that is removed while somebody has it open has no links, whatever was made in it just before."""
    directory, _ = case(site)
    (directory / "d").mkdir()
    fd = os.open(directory / "d", os.O_RDONLY | os.O_DIRECTORY)
    try:
        write(directory / "d" / "f")
        (directory / "d" / "f").unlink()
        (directory / "d").rmdir()
        equal("links", os.fstat(fd).st_nlink, 0)
    finally:
        os.close(fd)


_suite = Suite("questions", needs_product=True)
SUITES.append(_suite)
_suite.check("changes of names ask nothing of their directory")(names)
_suite.check("a listing asks once, and for no extended attributes")(listing)
_suite.check("extended attributes that are there are shown")(what_is_there_is_shown)
_suite.check("a removed directory is not shown as it was")(removed_directory)
