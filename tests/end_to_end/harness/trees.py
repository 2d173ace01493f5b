"""Trees of files to copy about, and their check sums."""
import hashlib
import os
import random


def make_tree(root, files=2000, seed=1, largest=200_000):
    """Files of random sizes and contents in nested directories, with links, modes and odd names."""
    source = random.Random(seed)
    directories = [os.path.join(root, "tree")]
    os.mkdir(directories[0])
    for number in range(files // 25):
        path = os.path.join(source.choice(directories), f"directory {number}")
        os.mkdir(path)
        directories.append(path)
    for number in range(files):
        path = os.path.join(source.choice(directories), f"file-{number}-{'x' * source.randrange(60)}")
        size = 0 if number % 50 == 0 else int(source.paretovariate(0.5) * 100) % largest
        with open(path, "wb") as file:
            file.write(source.randbytes(size))
        os.chmod(path, source.choice([0o644, 0o600, 0o755, 0o444]))
        if number % 40 == 0:
            os.symlink(os.path.basename(path), path + ".symlink")
        if number % 60 == 0:
            os.link(path, path + ".link")
    return directories[0]


def digest(root):
    """One check sum of names, kinds, modes, link counts, targets and contents below root."""
    total = hashlib.md5()
    for path, directories, files in os.walk(root):
        directories.sort()
        for name in sorted(files + directories):
            full = os.path.join(path, name)
            status = os.lstat(full)
            links = 0 if name in directories else status.st_nlink
            total.update(f"{os.path.relpath(full, root)} {status.st_mode:o} {links} ".encode(
                errors="surrogateescape"))
            if os.path.islink(full):
                total.update(os.fsencode(os.readlink(full)))
            elif os.path.isfile(full):
                total.update(content_digest(full).encode())
    return total.hexdigest()


def content_digest(path):
    total = hashlib.md5()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            total.update(piece)
    return total.hexdigest()
