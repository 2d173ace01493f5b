"""Names: mkdir, rmdir, create, unlink, link, symlink, rename, mknod, and what each refuses."""
from harness.checks import Suite
from harness.tables import add_table, for_each

KINDS = ["regular", "dir", "fifo", "socket", "symlink", "char", "block"]
NOT_DIRECTORIES = [kind for kind in KINDS if kind != "dir"]

suite = Suite("names")
SUITES = [suite]

add_table(suite, {
    "mkdir makes a directory with the mode less the umask": """
        mkdir a 755
        stat a -> =dir,755,0,0
        mkdir b 777
        stat b -> =dir,755,0,0
        umask 77
        mkdir c 777
        stat c -> =dir,700,0,0
        umask 0
        mkdir d 1777
        stat d -> =dir,1777,0,0
        mkdir e 151
        stat e -> =dir,151,0,0
        stat a nlink -> =2
        mkdir a/sub
        stat a nlink -> =3
        ls -> =[b'a', b'b', b'c', b'd', b'e']
        """,
    "mkdir refuses what exists, whatever it is": for_each("""
        make <kind> x<i>
        mkdir x<i> -> EEXIST
        lstat x<i> type -> =<kind>
        """, kind=KINDS),
    "mkdir below what is no directory is refused": for_each("""
        make <kind> x<i>
        mkdir x<i>/sub -> ENOTDIR
        """, kind=["regular", "fifo", "socket", "char", "block"]) + """
        symlink nowhere s
        mkdir s/sub -> ENOENT
        mkdir none/sub -> ENOENT
        mkdir '' -> ENOENT
        """,
    "rmdir takes an empty directory away": """
        mkdir a
        rmdir a
        stat a -> ENOENT
        rmdir a -> ENOENT
        mkdir a
        mkdir a/b
        rmdir a -> ENOTEMPTY
        rmdir a/b
        stat a nlink -> =2
        rmdir a
        mkdir c
        create c/f
        rmdir c -> ENOTEMPTY
        unlink c/f
        rmdir c
        rmdir . -> EINVAL
        mkdir d
        rmdir d/. -> EINVAL
        mkdir d/e
        rmdir d/e/.. -> ENOTEMPTY
        """,
    "rmdir refuses what is no directory": for_each("""
        make <kind> x<i>
        rmdir x<i> -> ENOTDIR
        """, kind=NOT_DIRECTORIES),
    "unlink takes every kind of object away": for_each("""
        make <kind> x<i>
        lstat x<i> type nlink -> =<kind>,1
        unlink x<i>
        lstat x<i> -> ENOENT
        unlink x<i> -> ENOENT
        """, kind=NOT_DIRECTORIES),
    "unlink refuses a directory, and a path through none": """
        mkdir a
        unlink a -> EISDIR
        create f
        unlink f/g -> ENOTDIR
        unlink none/g -> ENOENT
        stat f type -> =regular
        """,
    "a new name has its times and changes its directory's": """
        mark .
        create f
        changed . -> =mtime,ctime
        mark .
        mkdir d
        changed . -> =mtime,ctime
        mark .
        symlink x s
        changed . -> =mtime,ctime
        mark .
        mknod fifo p
        changed . -> =mtime,ctime
        mark .
        link f g
        changed . -> =mtime,ctime
        mark .
        rename g h
        changed . -> =mtime,ctime
        mark .
        unlink h
        changed . -> =mtime,ctime
        mark .
        rmdir d
        changed . -> =mtime,ctime
        recent f mtime -> =True
        recent f ctime -> =True
        recent f atime -> =True
        mark .
        mkdir f -> EEXIST
        changed . -> =
        """,
    "link changes the ctime of the file, and so does unlink of one of its names": """
        create f
        mark f
        link f g
        changed f -> =ctime
        mark f
        unlink g
        changed f -> =ctime
        mark f
        rename f h
        stat h nlink -> =1
        """,
    "link gives every kind but a directory one more name": for_each("""
        make <kind> x<i>
        link x<i> y<i>
        lstat x<i> type nlink -> =<kind>,2
        lstat y<i> type nlink -> =<kind>,2
        unlink x<i>
        lstat y<i> type nlink -> =<kind>,1
        """, kind=NOT_DIRECTORIES),
    "link refuses directories, existing names and missing ones": """
        mkdir d
        create f
        link d e -> EPERM
        link f d -> EEXIST
        link f f -> EEXIST
        link none g -> ENOENT
        link f none/g -> ENOENT
        link f/x g -> ENOTDIR
        link f f/g -> ENOTDIR
        stat f nlink -> =1
        """,
    "many links to one file count": "create f\n" + "\n".join(f"link f l{i}" for i in range(40)) + """
        stat f nlink -> =41
        stat l39 nlink -> =41
        same f l17 -> =True
        """,
    "symlink keeps its target byte by byte": r"""
        symlink target a
        readlink a -> =b'target'
        lstat a type mode -> =symlink,777
        lstat a size -> =6
        symlink \xff\xfe\x01 b
        readlink b -> =b'\xff\xfe\x01'
        symlink {p4095} c
        lstat c size -> =4095
        readlink c
        symlink '' d -> ENOENT
        symlink x a -> EEXIST
        symlink x none/a -> ENOENT
        create f
        readlink f -> EINVAL
        readlink none -> ENOENT
        mkdir dir
        readlink dir -> EINVAL
        symlink x f/a -> ENOTDIR
        symlink {p4096} e -> ENAMETOOLONG
        """,
    "a symlink is followed, and a loop of them ends in ELOOP": """
        mkdir d
        put d/f hello
        symlink d/f s
        cat s -> =b'hello'
        symlink d t
        cat t/f -> =b'hello'
        symlink one two
        symlink two one
        stat one -> ELOOP
        open x one r -> ELOOP
        chmod one 644 -> ELOOP
        truncate one 0 -> ELOOP
        mkdir one/d -> ELOOP
        symlink self self
        cat self -> ELOOP
        open x s r+nofollow -> ELOOP
        stat s type -> =regular
        lstat s type -> =symlink
        unlink s
        cat d/f -> =b'hello'
        """,
    "names of 255 bytes are names, of 256 are too long": """
        create {n255}
        stat {n255} type -> =regular
        ls
        create {n256} -> ENAMETOOLONG
        mkdir {n256} -> ENAMETOOLONG
        symlink x {n256} -> ENAMETOOLONG
        mknod fifo {n256} -> ENAMETOOLONG
        stat {n256} -> ENAMETOOLONG
        unlink {n256} -> ENAMETOOLONG
        rmdir {n256} -> ENAMETOOLONG
        rename {n255} {n256} -> ENAMETOOLONG
        rename {n256} y -> ENAMETOOLONG
        link {n255} {n256} -> ENAMETOOLONG
        link {n256} y -> ENAMETOOLONG
        open x {n256} r -> ENAMETOOLONG
        chmod {n256} 644 -> ENAMETOOLONG
        chown {n256} 0 0 -> ENAMETOOLONG
        truncate {n256} 0 -> ENAMETOOLONG
        utimens {n256} now now -> ENAMETOOLONG
        readlink {n256} -> ENAMETOOLONG
        rename {n255} short
        link short {n255}
        unlink {n255}
        mkdir {n255}
        create {n255}/{n255}
        unlink {n255}/{n255}
        rmdir {n255}
        symlink x {n255}
        readlink {n255} -> =b'x'
        """,
    "paths of 4095 bytes are looked up, of 4096 are too long": """
        create x
        stat {p4095} type -> =regular
        stat {p4096} -> ENAMETOOLONG
        open a {p4096} r -> ENAMETOOLONG
        rename x {p4096} -> ENAMETOOLONG
        mkdir {p4097} -> ENAMETOOLONG
        """,
    "names are bytes: no encoding is asked of them": r"""
        create \xff\xfe\x80
        create \x01\x02
        create 'with space'
        create \x0a
        create \xc3\xa4
        create -- 
        mkdir \xe9
        create \xe9/\xe8
        ls -> =[b'\x01\x02', b'\n', b'--', b'with space', b'\xc3\xa4', b'\xe9', b'\xff\xfe\x80']
        ls \xe9 -> =[b'\xe8']
        rename \xff\xfe\x80 \x80
        stat \x80 type -> =regular
        unlink \x80
        rename \xe9/\xe8 \xe8
        stat \xe8 type -> =regular
        """,
    "mknod makes fifos, sockets and devices": """
        mknod fifo p 640
        stat p -> =fifo,640,0,0
        mknod socket s 600
        stat s -> =socket,600,0,0
        mknod char c 666 1 3
        stat c type mode major minor -> =char,644,1,3
        mknod block b 660 7 200
        stat b type mode major minor -> =block,640,7,200
        mknod char big 600 4000 1000000
        stat big major minor -> =4000,1000000
        mknod regular r 604
        stat r type mode size -> =regular,604,0
        umask 27
        mknod fifo q 777
        stat q mode -> =750
        """,
    "mknod refuses what exists": for_each("""
        make <kind> x<i>
        mknod fifo x<i> -> EEXIST
        mknod socket x<i> -> EEXIST
        mknod char x<i> 644 1 3 -> EEXIST
        """, kind=KINDS),
    "mknod of a device is root's alone, of a fifo anyone's": """
        chmod . 777
        @1001 mknod char c 644 1 3 -> EPERM
        @1001 mknod block b 644 7 0 -> EPERM
        @1001 mknod fifo p 644
        @1001 mknod socket s 644
        stat p -> =fifo,644,1001,1001
        stat s -> =socket,644,1001,1001
        """,
})

# What rename does with every pair of kinds.
def rename_pairs():
    rows = []
    for i, old in enumerate(KINDS):
        for j, new in enumerate(KINDS):
            if old == "dir" and new != "dir":
                result, stays = " -> ENOTDIR", new
            elif old != "dir" and new == "dir":
                result, stays = " -> EISDIR", new
            else:
                result, stays = "", old
            rows.append(f"make {old} o{i}{j}\nmake {new} n{i}{j}\nrename o{i}{j} n{i}{j}{result}\n"
                        f"lstat n{i}{j} type -> ={stays}")
    return "\n".join(rows)


def exchange_pairs():
    rows = []
    for i, old in enumerate(KINDS):
        for j, new in enumerate(KINDS):
            rows.append(f"make {old} o{i}{j}\nmake {new} n{i}{j}\nrename o{i}{j} n{i}{j} exchange\n"
                        f"lstat o{i}{j} type -> ={new}\nlstat n{i}{j} type -> ={old}\n"
                        f"rename o{i}{j} n{i}{j} noreplace -> EEXIST")
    return "\n".join(rows)


add_table(suite, {
    "rename over every kind by every kind gives what POSIX says": rename_pairs(),
    "rename with EXCHANGE swaps any two kinds, with NOREPLACE none": exchange_pairs(),
    "rename moves between directories and replaces": """
        mkdir a
        mkdir b
        put a/f one
        put b/f two
        rename a/f b/f
        stat a/f -> ENOENT
        cat b/f -> =b'one'
        mkdir a/d
        put a/d/inner deep
        rename a/d b/d
        cat b/d/inner -> =b'deep'
        stat a nlink -> =2
        stat b nlink -> =3
        mkdir b/e
        rename b/d b/e
        ls b -> =[b'e', b'f']
        cat b/e/inner -> =b'deep'
        rename b/e/inner top
        cat top -> =b'deep'
        """,
    "rename refuses what it must": """
        mkdir a
        mkdir a/b
        create f
        rename a a/b/c -> EINVAL
        rename a a/b -> EINVAL
        rename none x -> ENOENT
        rename f none/x -> ENOENT
        rename f f/x -> ENOTDIR
        rename f/x y -> ENOTDIR
        mkdir c
        create c/g
        rename a c -> ENOTEMPTY
        rename a . -> EBUSY
        rename . x -> EBUSY
        rename a .. -> EBUSY
        rename f f
        stat f type -> =regular
        link f g
        rename f g
        ls -> =[b'a', b'c', b'f', b'g']
        rename f none noreplace
        rename none f noreplace
        rename f c noreplace -> EEXIST
        rename f nothere exchange -> ENOENT
        """,
    "rename of a non-empty directory over an empty one keeps what is in it": """
        mkdir a
        mkdir a/b
        mkdir a/b/c
        put a/b/c/f x
        mkdir z
        rename a z
        cat z/b/c/f -> =b'x'
        stat a -> ENOENT
        rename z/b/c z/c
        cat z/c/f -> =b'x'
        rename z/c/f f
        cat f -> =b'x'
        """,
    "create opens what is new, and O_EXCL only that": """
        umask 22
        open a f w+creat+excl 666
        fstat a mode -> =644
        open b f w+creat+excl -> EEXIST
        open b f w+creat
        open b f w+creat+trunc
        symlink nowhere s
        open b s w+creat+excl -> EEXIST
        open b s w+creat 640
        stat nowhere mode -> =640
        mkdir d
        open b d w+creat -> EISDIR
        open b d rw -> EISDIR
        open b d r+directory
        open b f r+directory -> ENOTDIR
        open b none r -> ENOENT
        open b f/x r -> ENOTDIR
        open b none/x w+creat -> ENOENT
        umask 0
        open b suid w+creat 6777
        stat suid mode -> =6777
        open b readonly rw+creat+excl 444
        write b works
        cat readonly -> =b'works'
        """,
    "a file without a name lives until it is closed": """
        put f content
        open a f rw
        unlink f
        stat f -> ENOENT
        fstat a nlink size -> =0,7
        read a 7 0 -> =b'content'
        write a more 7
        read a 20 0 -> =b'contentmore'
        ftruncate a 3
        read a 20 0 -> =b'con'
        fchmod a 600
        fstat a mode -> =600
        fchown a 1001 1001
        fstat a uid -> =1001
        put f new
        read a 20 0 -> =b'con'
        cat f -> =b'new'
        fsync a
        close a
        cat f -> =b'new'
        """,
    "a file that another is renamed over lives until it is closed": """
        put old one
        put new two
        open a old r
        rename new old
        read a 9 0 -> =b'one'
        cat old -> =b'two'
        fstat a nlink -> =0
        """,
    "O_TMPFILE makes a file without a name that can be given one": """
        mkdir d
        open a d rw+tmpfile 640
        write a hidden
        ls d -> =[]
        fstat a nlink -> =0
        name a d/seen
        cat d/seen -> =b'hidden'
        stat d/seen nlink mode -> =1,640
        open b d rw+tmpfile+excl 600
        name b d/never -> ENOENT
        open c d r+tmpfile -> EINVAL
        create f
        open c f rw+tmpfile -> ENOTDIR
        """,
    "an open directory that is removed reads as empty": """
        mkdir d
        open a d r+directory
        rmdir d
        fstat a type nlink -> =dir,0
        mkdir d
        ls d -> =[]
        """,
})
