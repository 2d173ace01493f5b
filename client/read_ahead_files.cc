#include "client/read_ahead_files.h"

#include <utility>

namespace rdmafs {

ReadAheadFiles::~ReadAheadFiles() {
  absl::MutexLock lock(&mutex);
  for (auto& [open_id, file] : files) {
    for (FetchedChunk* chunk : file->chunks) {
      memory.Return(chunk->memory);
      chunks.Return(chunk);
    }
    memory.Close(file->cursor);
  }
  memory.Close(small_cursor);
}

ReadAheadFile* ReadAheadFiles::Known(OpenId open_id) {
  const auto found = files.find(open_id);
  return found == files.end() ? nullptr : found->second.get();
}

ReadAheadFile* ReadAheadFiles::Of(OpenId open_id) {
  if (ReadAheadFile* file = Known(open_id)) return file;
  InodeVersions::OpenFile open_file = versions.Find(open_id);
  if (open_file.inode == nullptr) return nullptr;
  auto file = std::make_unique<ReadAheadFile>(std::move(open_file), options.policy);
  return files.emplace(open_id, std::move(file)).first->second.get();
}

}  // namespace rdmafs
