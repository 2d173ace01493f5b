// passthrough: the reference of tests/bench: a local directory through FUSE by libfuse's own
// threaded loop, nothing in between. Also a stand-in mount on which the end-to-end suites test
// themselves.
//
//   passthrough -o source=DIR[,libfuse mount options] MOUNTPOINT
#define FUSE_USE_VERSION 314
#include <dirent.h>
#include <fcntl.h>
#include <fuse.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

struct Settings {
  char* source = nullptr;
};

// The source directory, held open by main: every path is taken relative to it.
int Root() {
  return static_cast<int>(reinterpret_cast<intptr_t>(fuse_get_context()->private_data));
}
const char* Relative(const char* path) { return path[1] == '\0' ? "." : path + 1; }
std::string Absolute(const char* path) {  // for the calls that know no *at form
  return "/proc/self/fd/" + std::to_string(Root()) + path;
}
int Checked(long result) { return result < 0 ? -errno : static_cast<int>(result); }

void* Init(fuse_conn_info* connection, fuse_config* config) {
  config->nullpath_ok = 0;
  config->use_ino = 1;
  config->entry_timeout = config->attr_timeout = 1;
  connection->max_write = connection->max_readahead = 1 << 20;
  return fuse_get_context()->private_data;
}
int GetAttr(const char* path, struct stat* status, fuse_file_info* file) {
  if (file != nullptr) return Checked(fstat(static_cast<int>(file->fh), status));
  return Checked(fstatat(Root(), Relative(path), status, AT_SYMLINK_NOFOLLOW));
}
int ReadLink(const char* path, char* target, size_t size) {
  ssize_t length = readlinkat(Root(), Relative(path), target, size - 1);
  if (length < 0) return -errno;
  target[length] = '\0';
  return 0;
}
int MkNod(const char* path, mode_t mode, dev_t device) {
  return Checked(mknodat(Root(), Relative(path), mode, device));
}
int MkDir(const char* path, mode_t mode) { return Checked(mkdirat(Root(), Relative(path), mode)); }
int Unlink(const char* path) { return Checked(unlinkat(Root(), Relative(path), 0)); }
int RmDir(const char* path) { return Checked(unlinkat(Root(), Relative(path), AT_REMOVEDIR)); }
int SymLink(const char* target, const char* path) {
  return Checked(symlinkat(target, Root(), Relative(path)));
}
int Rename(const char* from, const char* to, unsigned flags) {
  return Checked(renameat2(Root(), Relative(from), Root(), Relative(to), flags));
}
int Link(const char* from, const char* to) {
  return Checked(linkat(Root(), Relative(from), Root(), Relative(to), 0));
}
int ChMod(const char* path, mode_t mode, fuse_file_info*) {
  return Checked(fchmodat(Root(), Relative(path), mode, 0));
}
int ChOwn(const char* path, uid_t uid, gid_t gid, fuse_file_info*) {
  return Checked(fchownat(Root(), Relative(path), uid, gid, AT_SYMLINK_NOFOLLOW));
}
int Truncate(const char* path, off_t size, fuse_file_info* file) {
  if (file != nullptr) return Checked(ftruncate(static_cast<int>(file->fh), size));
  return Checked(truncate(Absolute(path).c_str(), size));
}
int UTimeNs(const char* path, const timespec times[2], fuse_file_info*) {
  return Checked(utimensat(Root(), Relative(path), times, AT_SYMLINK_NOFOLLOW));
}
int OpenWith(const char* path, int flags, mode_t mode, fuse_file_info* file) {
  int fd = openat(Root(), Relative(path), (flags & ~O_DIRECT) | O_NOFOLLOW | O_CLOEXEC, mode);
  if (fd < 0) return -errno;
  file->fh = static_cast<uint64_t>(fd);
  return 0;
}
int Open(const char* path, fuse_file_info* file) { return OpenWith(path, file->flags, 0, file); }
int Create(const char* path, mode_t mode, fuse_file_info* file) {
  return OpenWith(path, file->flags | O_CREAT, mode, file);
}
int Read(const char*, char* buffer, size_t size, off_t offset, fuse_file_info* file) {
  return Checked(pread(static_cast<int>(file->fh), buffer, size, offset));
}
int Write(const char*, const char* data, size_t size, off_t offset, fuse_file_info* file) {
  return Checked(pwrite(static_cast<int>(file->fh), data, size, offset));
}
int Release(const char*, fuse_file_info* file) {
  return Checked(close(static_cast<int>(file->fh)));
}
int Fsync(const char*, int data_only, fuse_file_info* file) {
  int fd = static_cast<int>(file->fh);
  return Checked(data_only != 0 ? fdatasync(fd) : fsync(fd));
}
int Fallocate(const char*, int mode, off_t offset, off_t length, fuse_file_info* file) {
  return Checked(fallocate(static_cast<int>(file->fh), mode, offset, length));
}
int StatFs(const char*, struct statvfs* statistics) {
  return Checked(fstatvfs(Root(), statistics));
}
int ReadDir(const char* path, void* buffer, fuse_fill_dir_t fill, off_t, fuse_file_info*,
            fuse_readdir_flags) {
  DIR* directory = opendir(Absolute(path).c_str());
  if (directory == nullptr) return -errno;
  while (dirent* entry = readdir(directory)) {
    struct stat status {};
    status.st_ino = entry->d_ino;
    status.st_mode = static_cast<mode_t>(entry->d_type) << 12;
    if (fill(buffer, entry->d_name, &status, 0, static_cast<fuse_fill_dir_flags>(0)) != 0) break;
  }
  closedir(directory);
  return 0;
}
int SetXattr(const char* path, const char* name, const char* value, size_t size, int flags) {
  return Checked(lsetxattr(Absolute(path).c_str(), name, value, size, flags));
}
int GetXattr(const char* path, const char* name, char* value, size_t size) {
  return Checked(lgetxattr(Absolute(path).c_str(), name, value, size));
}
int ListXattr(const char* path, char* names, size_t size) {
  return Checked(llistxattr(Absolute(path).c_str(), names, size));
}
int RemoveXattr(const char* path, const char* name) {
  return Checked(lremovexattr(Absolute(path).c_str(), name));
}

fuse_operations Operations() {
  fuse_operations operations{};
  operations.init = Init;
  operations.getattr = GetAttr;
  operations.readlink = ReadLink;
  operations.mknod = MkNod;
  operations.mkdir = MkDir;
  operations.unlink = Unlink;
  operations.rmdir = RmDir;
  operations.symlink = SymLink;
  operations.rename = Rename;
  operations.link = Link;
  operations.chmod = ChMod;
  operations.chown = ChOwn;
  operations.truncate = Truncate;
  operations.utimens = UTimeNs;
  operations.open = Open;
  operations.create = Create;
  operations.read = Read;
  operations.write = Write;
  operations.release = Release;
  operations.fsync = Fsync;
  operations.fallocate = Fallocate;
  operations.statfs = StatFs;
  operations.readdir = ReadDir;
  operations.setxattr = SetXattr;
  operations.getxattr = GetXattr;
  operations.listxattr = ListXattr;
  operations.removexattr = RemoveXattr;
  return operations;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  const fuse_opt known[] = {{"source=%s", offsetof(Settings, source), 0}, FUSE_OPT_END};
  fuse_args arguments = FUSE_ARGS_INIT(argc, argv);
  if (fuse_opt_parse(&arguments, &settings, known, nullptr) != 0 || settings.source == nullptr) {
    fprintf(stderr, "usage: passthrough -o source=DIR[,OPTIONS] MOUNTPOINT\n");
    return 1;
  }
  umask(0);
  int root = open(settings.source, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (root < 0) {
    perror(settings.source);
    return 1;
  }
  const fuse_operations operations = Operations();
  return fuse_main(arguments.argc, arguments.argv, &operations,
                   reinterpret_cast<void*>(static_cast<intptr_t>(root)));
}
