"""A guest of QEMU with Debian's stock kernel, in software emulation: slow, but a kernel that users
have. The kernel's package is downloaded and unpacked into a cache, not installed."""
import os
import pathlib
import shutil
import subprocess

import guest

MODULES = ["virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay", "veth", "fuse", "loop", "ext4",
           "bonding", "dummy", "ib_uverbs", "rdma_ucm", "crc32_generic", "crc32c_generic", "rdma_rxe"]
SHARE = ('mount -t 9p -o "$4,trans=virtio,version=9p2000.L,msize=262144,cache=$(case $4 in ro) echo loose;; '
         '*) echo none;; esac)" "$2" "$3"')
CHANGE_ROOT = "exec switch_root /root /bin/bash /run/lab/stage-two"


def prepare(run_directory, exchange, arguments):
    """Returns QEMU's command line."""
    if arguments.device == "siw":
        raise FileNotFoundError("Debian's kernel has no siw: that takes a UML kernel")
    kernel, modules = unpacked_kernel()
    image = initramfs(run_directory, modules)
    guest.write_exchange(exchange, arguments, SHARE, "/dev/vport0p1",
                         first="for port in /dev/vport*p1; do ln -sf $port /dev/vport0p1; done 2>/dev/null\n")
    shares = [("host", "/", ",readonly=on"), ("exchange", str(exchange), "")]
    shares += [(f"share{number}", path, "") for number, path in enumerate(arguments.writable)]
    command = ["qemu-system-x86_64", "-machine", "pc,usb=off,vmport=off", "-nodefaults", "-no-user-config",
               "-display", "none", "-no-reboot", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max",
               "-smp", str(arguments.cpus), "-m", str(arguments.memory),
               "-serial", f"file:{run_directory}/console", "-device", "virtio-serial-pci",
               "-chardev", f"file,id=output,path={exchange}/output", "-device",
               "virtserialport,chardev=output,name=output", "-kernel", str(kernel), "-initrd", str(image),
               "-append", "console=ttyS0 panic=-1 nokaslr mitigations=off audit=0 apparmor=0 "
               "cryptomgr.notests random.trust_cpu=on quiet"]
    for name, path, more in shares:
        command += ["-fsdev", f"local,id={name},path={path},security_model=none,multidevs=remap{more}",
                    "-device", f"virtio-9p-pci,fsdev={name},mount_tag={name}"]
    return command


def unpacked_kernel():
    """(kernel image, its modules' directory) of Debian's current kernel package, from the cache."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "rdmafs-lab"
    tree = cache / kernel_package()
    if not tree.exists():
        download(tree)
    (kernel,) = (tree / "boot").glob("vmlinuz-*")
    (modules,) = (tree / "lib/modules").iterdir()
    return kernel, modules


def kernel_package():
    lines = subprocess.run(["apt-cache", "depends", "linux-image-amd64"], check=True, text=True,
                           stdout=subprocess.PIPE).stdout.splitlines()
    return next(line.split()[1] for line in lines if "Depends: linux-image" in line)


def download(tree):
    work = tree.with_name(f".{tree.name}.{os.getpid()}")
    work.mkdir(parents=True)
    try:
        subprocess.run(["apt-get", "download", "-q", tree.name], check=True, cwd=work,
                       stdout=subprocess.DEVNULL)
        (package,) = work.glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", str(package), str(work)], check=True)
        package.unlink()
        (modules,) = (work / "lib/modules").iterdir()
        subprocess.run(["depmod", "-b", str(work), modules.name], check=True)
        work.rename(tree)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def initramfs(run_directory, modules):
    root = run_directory / "root"
    root.mkdir()
    guest.write_root(root, SHARE, "exchange", CHANGE_ROOT)
    order = []
    for name in MODULES:
        for path in with_dependencies(modules, name):
            plain = path.name.removesuffix(".xz")
            if plain in order:
                continue
            order.append(plain)
            if path.suffix == ".xz":
                with open(root / "modules" / plain, "wb") as target:
                    subprocess.run(["xz", "-dc", str(path)], check=True, stdout=target)
            else:
                shutil.copy(path, root / "modules" / plain)
    (root / "modules/order").write_text("\n".join(order) + "\n")
    image = run_directory / "initramfs"
    with open(image, "wb") as target:
        subprocess.run("find . | cpio -o -H newc --quiet --owner 0:0", shell=True, check=True, cwd=root,
                       stdout=target)
    return image


def with_dependencies(modules, name):
    """The module's files in loading order. None when it is built into this kernel."""
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, dependencies = line.partition(":")
        if pathlib.Path(path).name.split(".")[0].replace("-", "_") == name:
            return [modules / each for each in [*reversed(dependencies.split()), path]]
    builtin = {pathlib.Path(line).name.split(".")[0].replace("-", "_")
               for line in (modules / "modules.builtin").read_text().splitlines()}
    if name in builtin:
        return []
    raise FileNotFoundError(f"this kernel has no module {name}")
