"""What the server is not asked, because its answers have said it already: counted at the server."""
import ctypes
import errno
import mmap
import os
import re

from harness.checks import Suite, equal
from harness.processes import Failed, run

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


def pattern(size):
    return bytes(number % 251 for number in range(size))


def small_files(site):
    """A file of up to 64 KiB that nobody had open here is read by its open alone, and mapped with zeros behind its end."""
    directory, behind = case(site)
    sizes = (1, 100, 4095, 4096, 4097, 20000, 65535, 65536)
    for size in sizes:
        (behind / f"file{size}").write_bytes(pattern(size))
    os.listdir(directory)
    read = during(site, lambda: [equal(f"{size} bytes", (directory / f"file{size}").read_bytes(), pattern(size))
                                 for size in sizes])
    equal("opens", read["OPEN"], len(sizes))
    equal("reads", read.get("READ", 0), 0 if gives_pages() else len(sizes))
    for size in sizes:
        mapped = whole_pages(directory / f"file{size}", size)
        equal(f"the mapping of {size} bytes", mapped, pattern(size).ljust(len(mapped), b"\0"))


def whole_pages(path, size):
    """What a mapping of the file shows, also behind its end, where Python's own does not look."""
    length = size + -size % mmap.PAGESIZE
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype, libc.mmap.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int,
                                                              ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    with open(path, "rb") as file:
        address = libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_PRIVATE, file.fileno(), 0)
    if address == ctypes.c_void_p(-1).value:
        raise Failed(f"mmap of {path}: {os.strerror(ctypes.get_errno())}")
    try:
        return ctypes.string_at(address, length)
    finally:
        libc.munmap(address, length)


def gives_pages():
    """Whether the kernel clears what is behind the end of a page that it is given (fuse/page_fill.cc)."""
    first = {"6.1": 107, "6.6": 48, "6.10": 7}
    release = os.uname().release.split(".")
    series = ".".join(release[:2])
    if series in first:
        patches = [int(patch) for patch in re.findall(rf"\b{re.escape(series)}\.(\d+)", " ".join(os.uname()[2:4]))]
        return max(patches) >= first[series]
    return [int(number) for number in release[:2]] >= [6, 11]


def empty_and_large_files(site):
    directory, behind = case(site)
    for size in (0, 65537):
        (behind / f"file{size}").write_bytes(pattern(size))
        read = during(site, lambda size=size: equal(f"{size} bytes", (directory / f"file{size}").read_bytes(), pattern(size)))
        equal(f"reads of {size} bytes", read.get("READ", 0) > 0, size > 0)


_suite = Suite("questions", needs_product=True)
SUITES.append(_suite)
_suite.check("changes of names ask nothing of their directory")(names)
_suite.check("a listing asks once, and for no extended attributes")(listing)
_suite.check("a small file is read by its open")(small_files)
_suite.check("an empty file asks for nothing, a large one for what it has")(empty_and_large_files)
_suite.check("extended attributes that are there are shown")(what_is_there_is_shown)
_suite.check("a removed directory is not shown as it was")(removed_directory)
