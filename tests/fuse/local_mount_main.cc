// rdmafs-local: the mount program over a directory of this machine, for tests. HOST is "local", DIR
// the directory.
#include "fuse/mount_program.h"
#include "tests/fuse/local_file_system.h"

namespace rdmafs {
namespace {

class LocalSource final : public fuse::FileSystemSource {
 public:
  explicit LocalSource(std::string host, std::string path)
      : host_(std::move(host)), path_(std::move(path)) {}

  absl::StatusOr<Attached> Connect(absl::Span<const ShardParts> shards) override {
    if (host_ != "local") return absl::UnavailableError(host_ + " cannot be reached");
    if (::access(path_.c_str(), X_OK) != 0) return absl::NotFoundError(path_ + " is not exported");
    directory_ = std::make_unique<LocalDirectory>(path_);
    for (const ShardParts& shard : shards) {
      file_systems_.push_back(std::make_unique<LocalFileSystem>(*directory_, *shard.loop));
    }
    return Attached{directory_->root(), false};
  }
  bool IsLost() const override { return directory_->lost; }
  FileSystem& file_system(size_t shard) override { return *file_systems_[shard]; }
  void Shutdown() override {
    // The mount program has released all that was open.
    CHECK(directory_ == nullptr || directory_->open_count() == 0);
    file_systems_.clear();
  }

 private:
  const std::string host_, path_;
  std::unique_ptr<LocalDirectory> directory_;
  std::vector<std::unique_ptr<LocalFileSystem>> file_systems_;
};

}  // namespace
}  // namespace rdmafs

int main(int argc, char** argv) {
  return rdmafs::fuse::RunMountProgram(
      argc, argv,
      [](const rdmafs::fuse::MountOptions& options, rdmafs::Arena&, const rdmafs::Clock&) {
        return std::make_unique<rdmafs::LocalSource>(options.hosts.front(), options.directory);
      });
}
