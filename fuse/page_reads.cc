#include "fuse/page_reads.h"

#include <algorithm>
#include <utility>

namespace rdmafs::fuse {

bool PageReads::File::IsInTheWay(const Read& read) const {
  return std::any_of(writes.begin(), writes.end(), [&](const Write& write) {
    return write.begin < read.end && read.begin < write.end;
  });
}

void PageReads::BeginWrite(uint64_t node_id, uint64_t unique, uint64_t begin, uint64_t end) {
  absl::MutexLock lock(&mutex_);
  File& file = files_[node_id];
  file.writes.push_back({unique, begin, end});
  for (const std::shared_ptr<Read>& read : file.reads) {
    if (begin < read->end && read->begin < end) read->overtaken_ = true;
  }
}

void PageReads::EndWrite(uint64_t node_id, uint64_t unique) {
  std::vector<std::shared_ptr<Read>> freed;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = files_.find(node_id);
    if (found == files_.end()) return;
    File& file = found->second;
    const auto ended = std::find_if(file.writes.begin(), file.writes.end(),
                                    [&](const Write& write) { return write.unique == unique; });
    if (ended != file.writes.end()) file.writes.erase(ended);
    const auto first =
        std::stable_partition(file.waiting.begin(), file.waiting.end(),
                              [&](const auto& read) { return file.IsInTheWay(*read); });
    freed.assign(std::make_move_iterator(first), std::make_move_iterator(file.waiting.end()));
    file.waiting.erase(first, file.waiting.end());
    DropUnused(found);
  }
  for (std::shared_ptr<Read>& read : freed) {
    EventLoop& loop = read->loop;
    loop.Post([read = std::move(read)] { read->Ask(read); });
  }
}

bool PageReads::Begin(const std::shared_ptr<Read>& read) {
  absl::MutexLock lock(&mutex_);
  File& file = files_[read->node_id];
  if (file.IsInTheWay(*read)) {
    file.waiting.push_back(read);
    return false;
  }
  read->overtaken_ = false;
  file.reads.push_back(read);
  return true;
}

bool PageReads::End(const std::shared_ptr<Read>& read) {
  absl::MutexLock lock(&mutex_);
  const auto found = files_.find(read->node_id);
  std::vector<std::shared_ptr<Read>>& reads = found->second.reads;
  reads.erase(std::find(reads.begin(), reads.end(), read));
  DropUnused(found);
  return !read->overtaken_;
}

void PageReads::DropUnused(Files::iterator found) {
  const File& file = found->second;
  if (file.writes.empty() && file.reads.empty() && file.waiting.empty()) files_.erase(found);
}

}  // namespace rdmafs::fuse
