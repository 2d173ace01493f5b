"""Permissions: who may do what; owners, sticky and sgid directories, suid and sgid bits, ACLs."""
import errno
import os
import shutil
import subprocess

from harness.checks import Suite, equal
from harness.tables import add_table, for_each

suite = Suite("permissions")
SUITES = [suite]

OWNER, GROUP, OTHER = "@1001", "@1002:1001", "@1003"
# (who, the bits that count for it): everyone is asked with every mode.
CLASSES = [(OWNER, 6), (GROUP, 3), (OTHER, 0), ("@1004:1004,1001", 3)]


def file_mode_rows():
    rows = []
    for who, shift in CLASSES:
        for bits in range(8):
            name = f"f{shift}{bits}{who.count(',')}"
            rows.append(f"create {name} 0\nchown {name} 1001 1001\nchmod {name} {bits << shift:o}")
            for flag, need in (("r", 4), ("w", 2), ("rw", 6)):
                rows.append(f"{who} open a {name} {flag}" + ("" if bits & need == need else " -> EACCES"))
            for letter, need in (("r", 4), ("w", 2), ("x", 1), ("rwx", 7)):
                rows.append(f"{who} access {name} {letter} -> ={bits & need == need}")
            rows.append(f"{who} truncate {name} 0" + ("" if bits & 2 else " -> EACCES"))
    return "\n".join(rows)


def directory_mode_rows():
    rows = []
    for who, shift in CLASSES:
        for bits in range(8):
            name = f"d{shift}{bits}{who.count(',')}"
            may_change = "" if bits & 3 == 3 else " -> EACCES"
            rows.append(f"mkdir {name}\nput {name}/old x\nput {name}/gone x\nmkdir {name}/sub\nchmod {name}/old 666\n"
                        f"chown {name} 1001 1001\nchmod {name} {bits << shift:o}")
            rows.append(f"{who} ls {name}" + ("" if bits & 4 else " -> EACCES"))
            rows.append(f"{who} stat {name}/old type" + ("" if bits & 1 else " -> EACCES"))
            rows.append(f"{who} stat {name}/none type -> " + ("ENOENT" if bits & 1 else "EACCES"))
            for step in ("create {0}/new", "mkdir {0}/newdir", "symlink x {0}/s", "mknod fifo {0}/p",
                         "rename {0}/old {0}/moved", "rmdir {0}/sub", "unlink {0}/gone"):
                rows.append(f"{who} {step.format(name)}{may_change}")
    return "\n".join(rows)


add_table(suite, {
    "every class of user gets what each mode of a file grants": file_mode_rows(),
    "every class of user gets what each mode of a directory grants": directory_mode_rows(),
    "root may do what the mode forbids, save run what nobody may": """
        create f 0
        open a f rw
        access f rw -> =True
        access f x -> =False
        chmod f 1
        access f x -> =True
        mkdir d 0
        create d/f
        ls d -> =[b'f']
        """,
    "chmod is the owner's and root's": for_each("""
        make <kind> x<i> 644
        lchown x<i> 1001 1001
        @1001 chmod x<i> 600
        stat x<i> mode uid -> =600,1001
        @1002 chmod x<i> 644 -> EPERM
        @1002:1001 chmod x<i> 644 -> EPERM
        chmod x<i> 111
        stat x<i> mode -> =111
        mark x<i>
        chmod x<i> 644
        changed x<i> -> =ctime
        """, kind=["regular", "dir", "fifo", "socket", "char", "block"]),
    "chmod keeps the special bits of root, and takes sgid from strangers to the group": """
        create f
        chmod f 7777
        stat f mode -> =7777
        mkdir d
        chmod d 7777
        stat d mode -> =7777
        create g
        chown g 1001 1002
        @1001 chmod g 2755
        stat g mode -> =755
        @1001:1001,1002 chmod g 2755
        stat g mode -> =2755
        @1001 chmod g 4755
        stat g mode -> =4755
        chmod none 644 -> ENOENT
        chmod f/x 644 -> ENOTDIR
        """,
    "chown is root's, chgrp to an own group the owner's": """
        create f
        chown f 1001 1001
        stat f uid gid -> =1001,1001
        @1001 chown f 1002 1001 -> EPERM
        @1001 chown f 1001 1002 -> EPERM
        @1001:1001,1002 chown f 1001 1002
        stat f uid gid -> =1001,1002
        @1001:1001,1002 chown f -1 1001
        stat f uid gid -> =1001,1001
        @1002 chown f 1002 1002 -> EPERM
        @1002 chown f -1 -1 -> ?
        chown f -1 1003
        stat f uid gid -> =1001,1003
        chown f 0 -1
        stat f uid gid -> =0,1003
        symlink f s
        chown s 7 8
        stat f uid gid -> =7,8
        lchown s 9 10
        lstat s uid gid -> =9,10
        stat f uid gid -> =7,8
        mark f
        chown f 1 1
        changed f -> =ctime
        mark f
        @1003 chown f -1 -1
        changed f -> =ctime
        chown f 4294967294 4294967294
        stat f uid gid -> =4294967294,4294967294
        """,
    "chown clears suid and sgid as the kernel does": """
        create f 6755
        chmod f 6755
        @0 chown f 1001 1001
        stat f mode -> =755
        chmod f 6755
        @1001:1001,1002 chown f -1 1002
        stat f mode -> =755
        chmod f 2745
        @1001:1001,1002 chown f -1 1001
        stat f mode
        chmod f 6644
        @0 chown f 1002 1002
        stat f mode -> =2644
        mkdir d
        chmod d 6755
        chown d 1001 1001
        stat d mode -> =6755
        @1001:1001,1002 chown d -1 1002
        stat d mode -> =6755
        """,
    "a write of another user clears suid and sgid, root's does not": """
        create f
        chmod f 6777
        @1002 open a f w
        @1002 write a x
        @1002 close a
        stat f mode -> =777
        chmod f 6777
        open a f w
        write a y
        stat f mode -> =6777
        chmod f 2767
        @1002 open b f w
        @1002 write b z
        @1002 close b
        stat f mode
        chmod f 4777
        @1002 open b f w
        @1002 fill b 1048576 0
        @1002 close b
        stat f mode -> =777
        """,
    "truncate of another user clears suid and sgid": """
        create f 644 100
        chmod f 6777
        @1002 truncate f 50
        stat f mode size -> =777,50
        chmod f 6777
        @1002 open a f w
        @1002 ftruncate a 10
        @1002 close a
        stat f mode size -> =777,10
        chmod f 6777
        @1002 open a f w+trunc
        @1002 close a
        stat f mode size -> =777,0
        chmod f 6777
        truncate f 5
        stat f mode -> =6777
        """,
    "fallocate of another user clears suid and sgid": """
        create f
        chmod f 6777
        @1002 open a f rw
        @1002 fallocate a allocate 0 8192
        @1002 close a
        stat f mode size -> =777,8192
        """,
    "in a sticky directory only the owners remove and rename": """
        mkdir d
        chmod d 1777
        @1001 create d/f
        @1001 mkdir d/sub
        @1002 create d/other
        @1002 unlink d/f -> EPERM
        @1002 rmdir d/sub -> EPERM
        @1002 rename d/f d/g -> EPERM
        @1002 rename d/other d/f -> EPERM
        @1002 rename d/f d/other exchange -> EPERM
        @1001 rename d/f d/g
        @1001 unlink d/g
        @1001 rmdir d/sub
        @1001 create d/h
        unlink d/h
        chown d 1003 1003
        @1003 unlink d/other
        @1001 create d/i
        @1001 link d/i d/j
        """,
    "hard links to other users' files follow the kernel's rule": """
        chmod . 777
        create f 600
        @1001 link f g -> EPERM
        create h 666
        chmod h 666
        @1001 link h i
        """,
    "a new object belongs to its maker, in a sgid directory to the directory's group": for_each("""
        mkdir d<i>
        chown d<i> 0 2000
        chmod d<i> 2777
        mkdir e<i>
        chmod e<i> 777
        @1001 make <kind> d<i>/x 644
        lstat d<i>/x uid gid -> =1001,2000
        @1001 make <kind> e<i>/x 644
        lstat e<i>/x uid gid -> =1001,1001
        """, kind=["regular", "dir", "fifo", "socket", "symlink"]) + """
        @1001 mkdir d0/deeper 755
        stat d0/deeper mode gid -> =2755,2000
        @1001 open a d0/exec w+creat 2775
        stat d0/exec mode gid -> =755,2000
        @1001:1001,2000 open a d0/member w+creat 2775
        stat d0/member mode gid -> =2755,2000
        """,
    "supplementary groups count": """
        create f 640
        chown f 0 3000
        @1001 open a f r -> EACCES
        @1001:1001,3000 open a f r
        @1001:1001,2999,3000,3001 open a f r
        @1001:1001,2999,3000,3001 open a f w -> EACCES
        """,
    "the umask of the caller counts": """
        chmod . 777
        @1001 umask 0
        @1001 create a 666
        stat a mode -> =666
        @1001 umask 77
        @1001 create b 666
        stat b mode -> =600
        @1001 mkdir c 777
        stat c mode -> =700
        @1001 mknod fifo p 666
        stat p mode -> =600
        @1001 umask 777
        @1001 create d 666
        stat d mode -> =0
        """,
    "times are set by the owner, or to now by who may write": """
        create f 666
        chmod f 666
        chown f 1001 1001
        @1002 utimens f 1 1 -> EPERM
        @1002 utimens f now now
        @1002 utimens f now omit -> EPERM
        @1001 utimens f 5 6
        stat f atime mtime -> =5000000000,6000000000
        chmod f 644
        @1002 utimens f now now -> EACCES
        utimens f 7.5 8.25
        stat f atime mtime -> =7000000005,8000000025
        """,
    "a default ACL is inherited and the umask then is not asked": """
        mkdir d
        setfacl -d -m u:1001:rwx,g:1002:rx,m::rwx d
        umask 77
        create d/f 666
        getfacl d/f
        stat d/f mode -> =664
        mkdir d/sub 777
        getfacl d/sub
        stat d/sub mode -> =775
        create d/sub/deep 640
        getfacl d/sub/deep
        mknod fifo d/p 660
        getfacl d/p
        open a d w+tmpfile 644
        name a d/t
        getfacl d/t
        """,
    "an ACL grants and refuses": """
        create f 600
        @1001 open a f r -> EACCES
        setfacl -m u:1001:r f
        stat f mode -> =640
        @1001 open a f r
        @1001 open a f w -> EACCES
        @1002 open a f r -> EACCES
        setfacl -m g:1002:rw f
        @1002 open a f rw
        @1003:1003,1002 open a f rw
        setfacl -m m::r f
        @1002 open b f w -> EACCES
        chmod f 660
        @1002 open b f w
        getfacl f
        setfacl -x u:1001 f
        @1001 open b f r -> EACCES
        setfacl -b f
        getfacl f
        @1001 setfacl -m u:1001:rwx f -> EPERM
        mkdir d 700
        setfacl -m u:1001:rwx d
        @1001 create d/f
        @1001 ls d -> =[b'f']
        @1002 ls d -> EACCES
        """,
    "chmod and an ACL's mask are the same bits": """
        create f 644
        setfacl -m u:1001:rwx f
        stat f mode -> =674
        chmod f 604
        getfacl f
        chmod f 2674
        getfacl f
        @0 setfacl -m m::r f
        stat f mode
        """,
    "setting an ACL clears sgid for who is not in the group": """
        create f
        chown f 1001 1002
        chmod f 2755
        @1001 setfacl -m u:1003:r f
        stat f mode
        """,
})


@suite.check("a program that a user may execute and not read runs")
def execute_only(site):
    for directory in site.case_directories():
        program = directory / "program"
        shutil.copy("/bin/true", program)
        os.chown(program, 1001, 1001)
        for who, mode, status in ((1001, 0o100, 0), (1002, 0o001, 0), (1002, 0o700, errno.EACCES)):
            os.chmod(program, mode)
            equal(f"{program}: mode {mode:o} by {who}", run_as(who, program), status)
            equal("cat of it", run_as(who, "/bin/cat", program), 1)


def run_as(uid, *argv):
    """The exit status of the program, or the errno with which it could not be started."""
    try:
        return subprocess.run(argv, user=uid, group=uid, extra_groups=[], stderr=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, check=False).returncode
    except OSError as error:
        return error.errno
