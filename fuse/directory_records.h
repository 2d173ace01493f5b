// The records of a directory: reading the server's, and taking back what the kernel's have counted.
#pragma once

#include <optional>
#include <string_view>

#include "absl/types/span.h"
#include "client/file_system.h"
#include "fuse/context.h"

namespace rdmafs::fuse {

struct DirectoryRecord {
  wire::DirentHeader header{};
  std::optional<Entry> entry;
  std::string_view name;
};

// Walks the records of a ReadDir payload. They came from a peer: one that does not fit ends the
// walk, and ok() tells.
class DirectoryReader {
 public:
  explicit DirectoryReader(absl::Span<const std::byte> records) : records_(records) {}

  std::optional<DirectoryRecord> Next();
  bool ok() const { return ok_; }
  // It has been said, behind the last record that Next() gave, that the directory ends there.
  bool at_end() const { return ok_ && at_end_; }

 private:
  bool Parse(DirectoryRecord& record);

  absl::Span<const std::byte> records_;
  bool ok_ = true;
  bool at_end_ = false;
};

// Takes back the lookups that READDIRPLUS records, made here, counted.
void ForgetRecords(Context& context, absl::Span<const std::byte> records);

}  // namespace rdmafs::fuse
