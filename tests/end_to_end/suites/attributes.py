"""Attributes: times, extended attributes, file system statistics."""
import errno
import os

from harness.checks import Suite, equal
from harness.processes import Failed
from harness.tables import add_table, for_each, same_on_both

suite = Suite("attributes")
SUITES = [suite]

add_table(suite, {
    "utimens sets, keeps and takes the time of now, of every kind": for_each("""
        make <kind> x<i>
        lutimens x<i> 1000.5 2000.7
        lstat x<i> atime mtime -> =1000000000005,2000000000007
        lutimens x<i> omit 3000
        lstat x<i> atime mtime -> =1000000000005,3000000000000
        lutimens x<i> 4000 omit
        lstat x<i> atime mtime -> =4000000000000,3000000000000
        lutimens x<i> omit omit
        lstat x<i> atime mtime -> =4000000000000,3000000000000
        lutimens x<i> now 5
        recent x<i> atime -> =True
        lutimens x<i> 5 now
        recent x<i> mtime -> =True
        lstat x<i> atime -> =5000000000
        mark x<i>
        lutimens x<i> 6 7
        recent x<i> ctime -> =True
        """, kind=["regular", "dir", "fifo", "socket", "symlink", "char", "block"]),
    "times before 1970, after 2038 and with nanoseconds are kept": """
        create f
        utimens f -1 -100000
        stat f atime mtime -> =-1000000000,-100000000000000
        utimens f 2147483648.999999999 4294967296.1
        stat f atime mtime -> =2147483648999999999,4294967296000000001
        utimens f -5.5 0
        stat f atime mtime
        utimens none now now -> ENOENT
        utimens f 1.1000000000 1 -> EINVAL
        """,
    "extended attributes are set, replaced, listed and removed": r"""
        create f
        setxattr f user.a one
        getxattr f user.a -> =b'one'
        setxattr f user.a two create -> EEXIST
        setxattr f user.a three replace
        getxattr f user.a -> =b'three'
        setxattr f user.none x replace -> ENODATA
        setxattr f user.b two create
        setxattr f user.empty ''
        getxattr f user.empty -> =b''
        listxattr f -> =['user.a', 'user.b', 'user.empty']
        removexattr f user.a
        removexattr f user.a -> ENODATA
        getxattr f user.a -> ENODATA
        listxattr f -> =['user.b', 'user.empty']
        getxattr none user.a -> ENOENT
        mkdir d
        setxattr d user.dir \x01\xff\x80
        getxattr d user.dir -> =b'\x01\xff\x80'
        mark f
        setxattr f user.c x
        changed f -> =ctime
        mark f
        removexattr f user.c
        changed f -> =ctime
        """,
    "extended attributes of each name space are refused as on the directory": """
        create f 666
        chmod f 666
        setxattr f nonsense x -> ENOTSUP
        setxattr f other.name x -> ENOTSUP
        setxattr f user. x -> EINVAL
        getxattr f nonsense -> ENOTSUP
        @1001 setxattr f user.u x
        @1001 getxattr f user.u -> =b'x'
        @1001 setxattr f trusted.t x -> EPERM
        setxattr f trusted.t x
        getxattr f trusted.t -> =b'x'
        @1001 getxattr f trusted.t -> ENODATA
        chmod f 600
        @1001 getxattr f user.u -> EACCES
        @1001 setxattr f user.v x -> EACCES
        symlink f s
        lsetxattr s user.x y -> EPERM
        lgetxattr s user.u -> ENODATA
        lsetxattr s trusted.x y
        lgetxattr s trusted.x -> =b'y'
        mknod fifo p 666
        setxattr p user.x y -> EPERM
        @1001 setxattr f security.capability x -> ?
        """,
    "names of extended attributes have up to 255 bytes": f"""
        create f
        setxattr f user.{"a" * 250} longest
        getxattr f user.{"a" * 250} -> =b'longest'
        listxattr f
        setxattr f user.{"a" * 251} x -> ERANGE
        setxattr f {"b" * 300} x -> ERANGE
        """,
    "a file system's statistics are the exported one's": """
        statvfs
        create f
        statvfs f
        statvfs none -> ENOENT
        """,
    "hard links, holes and devices keep their numbers": """
        create f 644 1000000
        link f g
        stat g nlink size -> =2,1000000
        mknod char c 600 10 229
        stat c major minor size -> =10,229,0
        """,
})


@suite.check("extended attributes of every size come back, up to what the directory takes")
def sizes(site):
    def try_all(directory):
        results = []
        for size in (0, 1, 100, 1000, 3000, 4000, 4096, 8192, 30000, 65535, 65536, 65537):
            path = directory / f"f{size}"
            path.touch()
            value = bytes(i * 7 % 251 for i in range(size))
            try:
                os.setxattr(path, "user.value", value)
                results.append((size, os.getxattr(path, "user.value") == value))
            except OSError as error:
                results.append((size, errno.errorcode[error.errno]))
        return results
    same_on_both(site, try_all)


@suite.check("many extended attributes are all listed")
def many(site):
    def set_many(directory):
        path = directory / "f"
        path.touch()
        for number in range(100):
            os.setxattr(path, f"user.attribute-{number:03}", b"v")
        return sorted(os.listxattr(path))
    got = same_on_both(site, set_many)
    equal("how many", len(got), 100)


@suite.check("free space shrinks for the mount as it does for the server")
def free_space(site):
    on_mount, on_export = site.case_directories()
    with open(on_mount / "big", "wb") as file:
        file.write(b"x" * (8 << 20))
        os.fsync(file.fileno())
    seen, real = os.statvfs(on_mount), os.statvfs(on_export)
    for field in ("f_blocks", "f_bsize", "f_frsize", "f_files", "f_namemax"):
        equal(field, getattr(seen, field), getattr(real, field))
    if abs(seen.f_bavail - real.f_bavail) * real.f_frsize > 256 << 20:  # others write here, too
        raise Failed(f"{seen.f_bavail} blocks free, on the server {real.f_bavail}")


@suite.check("the blocks that a file takes are seen, and inode numbers are the server's or stable")
def blocks(site):
    on_mount, _ = site.case_directories()
    (on_mount / "f").write_bytes(b"x" * 100000)
    with open(on_mount / "f", "rb") as file:
        os.fsync(file.fileno())
    backing = site.export / on_mount.name / "f"
    os.listdir(on_mount)
    first = os.stat(on_mount / "f")
    if not first.st_blocks:
        raise Failed("no blocks")
    numbers = {entry.name: entry.inode() for entry in os.scandir(on_mount)}
    equal("d_ino and st_ino", numbers["f"], first.st_ino)
    equal("st_ino", first.st_ino, os.stat(backing).st_ino)
