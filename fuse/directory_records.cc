#include "fuse/directory_records.h"

#include <algorithm>
#include <cstring>

#include "fuse/attributes.h"

namespace rdmafs::fuse {

std::optional<DirectoryRecord> DirectoryReader::Next() {
  if (!ok_ || records_.empty()) return std::nullopt;
  DirectoryRecord record;
  ok_ = Parse(record);
  if (!ok_ || at_end_) return std::nullopt;
  records_.remove_prefix(record.header.record_size);
  return record;
}

bool DirectoryReader::Parse(DirectoryRecord& record) {
  wire::DirentHeader& header = record.header;
  if (records_.size() < sizeof header) return false;
  std::memcpy(&header, records_.data(), sizeof header);
  if ((header.flags & wire::kDirentEnd) != 0) {
    at_end_ = true;
    return header.record_size == sizeof header && records_.size() == sizeof header;
  }
  const bool has_attributes = (header.flags & wire::kDirentAttributes) != 0;
  size_t at = sizeof header;
  const size_t attributes_size = has_attributes ? sizeof(Attributes) : 0;
  const size_t handle_size = has_attributes ? header.handle_size : 0;
  const size_t size = at + attributes_size + handle_size + header.name_size;
  if (header.record_size < size || header.record_size > records_.size()) return false;
  if (handle_size > wire::kMaxHandleBytes) return false;
  if (header.name_size == 0 || header.name_size > wire::kMaxNameBytes) return false;

  const std::byte* const start = records_.data();
  if (has_attributes) {
    Entry& entry = record.entry.emplace();
    std::memcpy(&entry.attributes, start + at, sizeof entry.attributes);
    at += sizeof entry.attributes;
    entry.handle.size_bytes = static_cast<uint16_t>(handle_size);
    std::memcpy(entry.handle.bytes.data(), start + at, handle_size);
    at += handle_size;
  }
  record.name = {reinterpret_cast<const char*>(start + at), header.name_size};
  return record.name.find('/') == std::string_view::npos &&
         record.name.find('\0') == std::string_view::npos;
}

void ForgetRecords(Context& context, absl::Span<const std::byte> records) {
  fuse_direntplus record;
  while (records.size() >= FUSE_NAME_OFFSET_DIRENTPLUS) {
    std::memcpy(&record, records.data(), FUSE_NAME_OFFSET_DIRENTPLUS);
    if (record.entry_out.nodeid != 0) ForgetLookups(context, record.entry_out.nodeid, 1);
    records.remove_prefix(std::min(
        records.size(), FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + record.dirent.namelen)));
  }
}

}  // namespace rdmafs::fuse
