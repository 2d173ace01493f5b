// librdmafs for C++ (17): owners of the handles of <rdmafs/rdmafs.h>, which says what everything does.
// Errors are std::system_error of std::generic_category(). Destructors end what they own and ignore errors;
// the file system is the last to go.
#pragma once

#include <rdmafs/rdmafs.h>

#include <string>
#include <system_error>
#include <utility>

namespace librdmafs {

// A result of the library's, or an exception.
inline int64_t Check(int64_t result, const char* what) {
  if (result < 0) throw std::system_error(static_cast<int>(-result), std::generic_category(), what);
  return result;
}

// Movable; `End` is called once for a handle that is not null.
template <typename Handle, auto End>
class Owner {
 public:
  Owner() = default;
  explicit Owner(Handle* handle) : handle_(handle) {}
  Owner(Owner&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Owner& operator=(Owner&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Owner() {
    if (handle_ != nullptr) End(handle_);
  }
  Handle* get() const { return handle_; }
  Handle* release() { return std::exchange(handle_, nullptr); }

 private:
  Handle* handle_ = nullptr;
};

// Pool data; consumed with this object.
class PoolBuffer {
 public:
  PoolBuffer(rdmafs_fs* fs, const rdmafs_buffer& buffer) : fs_(fs), buffer_(buffer) {}
  PoolBuffer(PoolBuffer&& other) noexcept
      : fs_(std::exchange(other.fs_, nullptr)), buffer_(other.buffer_) {}
  PoolBuffer& operator=(PoolBuffer&& other) noexcept {
    std::swap(fs_, other.fs_);
    std::swap(buffer_, other.buffer_);
    return *this;
  }
  ~PoolBuffer() {
    if (fs_ != nullptr) rdmafs_buffer_consumed(fs_, &buffer_);
  }
  const char* data() const { return static_cast<const char*>(buffer_.data); }
  size_t size() const { return buffer_.size; }
  const rdmafs_buffer& get() const { return buffer_; }

 private:
  rdmafs_fs* fs_;
  rdmafs_buffer buffer_;
};

class File {
 public:
  File(rdmafs_fs* fs, rdmafs_file* file) : fs_(fs), file_(file) {}

  size_t ReadTo(void* data, size_t length, uint64_t offset) {
    return static_cast<size_t>(Check(rdmafs_readto(get(), data, length, offset, nullptr), "readto"));
  }
  size_t WriteFrom(const void* data, size_t length, uint64_t offset) {
    return static_cast<size_t>(
        Check(rdmafs_writefrom(get(), data, length, offset, nullptr), "writefrom"));
  }
  PoolBuffer ReadPool(size_t length, uint64_t offset) {
    rdmafs_buffer buffer;
    Check(rdmafs_read_pool(get(), length, offset, &buffer, nullptr), "read_pool");
    return PoolBuffer(fs_, buffer);
  }
  size_t WritePool(const PoolBuffer& buffer, size_t from, size_t length, uint64_t offset) {
    return static_cast<size_t>(Check(
        rdmafs_write_pool(get(), &buffer.get(), from, length, offset, nullptr), "write_pool"));
  }
  struct stat Stat() {
    struct stat stat;
    Check(rdmafs_fstat(get(), &stat, nullptr), "fstat");
    return stat;
  }
  void Truncate(uint64_t size) { Check(rdmafs_ftruncate(get(), size, nullptr), "ftruncate"); }
  void Sync(bool data_only = false) { Check(rdmafs_fsync(get(), data_only, nullptr), "fsync"); }
  void Close() { Check(rdmafs_close(file_.release()), "close"); }
  rdmafs_file* get() const { return file_.get(); }

 private:
  rdmafs_fs* fs_;
  Owner<rdmafs_file, rdmafs_close> file_;
};

class FileSystem {
 public:
  explicit FileSystem(const std::string& source, const rdmafs_options* options = nullptr) {
    rdmafs_fs* fs = nullptr;
    char why[256] = "";
    const int error = rdmafs_connect(source.c_str(), options, &fs, why, sizeof why);
    if (error != 0) throw std::system_error(-error, std::generic_category(), why);
    fs_ = Owner<rdmafs_fs, rdmafs_disconnect>(fs);
  }

  File Open(const std::string& path, int flags, mode_t mode = 0644) {
    rdmafs_file* file = nullptr;
    Check(rdmafs_open(get(), path.c_str(), flags, mode, &file, nullptr), path.c_str());
    return File(get(), file);
  }
  struct stat Stat(const std::string& path, int flags = 0) {
    struct stat stat;
    Check(rdmafs_stat(get(), path.c_str(), flags, &stat, nullptr), path.c_str());
    return stat;
  }
  void MakeDirectory(const std::string& path, mode_t mode = 0755) {
    Check(rdmafs_mkdir(get(), path.c_str(), mode, nullptr), path.c_str());
  }
  void Unlink(const std::string& path) {
    Check(rdmafs_unlink(get(), path.c_str(), nullptr), path.c_str());
  }
  void Rename(const std::string& from, const std::string& to, unsigned flags = 0) {
    Check(rdmafs_rename(get(), from.c_str(), to.c_str(), flags, nullptr), from.c_str());
  }
  // Calls take(const rdmafs_dirent&) for each entry.
  template <typename Take>
  void List(const std::string& path, Take take) {
    rdmafs_dir* opened = nullptr;
    Check(rdmafs_opendir(get(), path.c_str(), &opened), path.c_str());
    const Owner<rdmafs_dir, rdmafs_closedir> dir(opened);
    rdmafs_dirent entry;
    while (Check(rdmafs_readdir(dir.get(), &entry), path.c_str()) == 1) take(entry);
  }
  rdmafs_fs* get() const { return fs_.get(); }

 private:
  Owner<rdmafs_fs, rdmafs_disconnect> fs_;
};

}  // namespace librdmafs
