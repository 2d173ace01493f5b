#include "server/recall_log.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "transport/base/check.h"

namespace rdmafs::server {
namespace {

constexpr uint64_t kMagic = 0x326c6c6163657272;  // "rrecall2"
constexpr int kLockPauseMs = 20;

}  // namespace

struct RecallLog::Header {
  static constexpr size_t kBytes = 4096;
  uint64_t magic;
  uint32_t record_count, session_count;
  uint64_t boot[2];
  uint64_t begun_count;  // sessions so far
  uint32_t used_count;   // records that were ever somebody's: the first ones
  uint32_t ended_in_order;

  bool CountsFor(const Options& options) const {
    const bool same_shape = magic == kMagic && record_count == options.record_count &&
                            session_count == options.session_count && used_count <= record_count;
    const bool same_boot = boot[0] == options.boot[0] && boot[1] == options.boot[1];
    return same_shape && (same_boot || ended_in_order != 0);
  }
};
struct RecallLog::SessionRow {
  uint64_t session[2];  // both 0: the row is free
  uint64_t number;      // the order in which they began
  uint32_t incomplete;  // there are calls of it that no record is of
  uint32_t key_size;
  char key[wire::kMaxKeyNameBytes];
};

absl::StatusOr<std::unique_ptr<RecallLog>> RecallLog::Open(const std::string& path,
                                                           const Options& options) {
  auto file = OpenFile(path, options.lock_patience_ms);
  if (!file.ok()) return file.status();
  return Over(*std::move(file), options);
}

absl::StatusOr<UniqueFd> RecallLog::OpenFile(const std::string& path, int patience_ms) {
  UniqueFd file(open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.valid()) return absl::ErrnoToStatus(errno, path);
  for (int waited_ms = 0; flock(file.get(), LOCK_EX | LOCK_NB) != 0; waited_ms += kLockPauseMs) {
    if (errno != EWOULDBLOCK || waited_ms >= patience_ms) {
      return absl::ErrnoToStatus(errno, absl::StrCat(path, ": another process has it"));
    }
    const timespec pause{0, kLockPauseMs * 1'000'000};
    nanosleep(&pause, nullptr);
  }
  return file;
}

absl::StatusOr<std::unique_ptr<RecallLog>> RecallLog::Over(UniqueFd file, const Options& options) {
  const size_t size = Header::kBytes + options.session_count * sizeof(SessionRow) +
                      options.record_count * sizeof(RecallRecord);
  struct stat status;
  if (fstat(file.get(), &status) != 0) return absl::ErrnoToStatus(errno, "fstat");
  Header header{};
  const bool counts = static_cast<size_t>(status.st_size) == size &&
                      pread(file.get(), &header, sizeof header, 0) == sizeof header &&
                      header.CountsFor(options);
  if (!counts && ftruncate(file.get(), 0) != 0) return absl::ErrnoToStatus(errno, "ftruncate");
  // All of it now: a full disk would be met as SIGBUS later.
  if (const int error = posix_fallocate(file.get(), 0, static_cast<off_t>(size)); error != 0) {
    return absl::ErrnoToStatus(error, "no room for the log of calls");
  }
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (memory == MAP_FAILED) return absl::ErrnoToStatus(errno, "mmap");
  return std::unique_ptr<RecallLog>(
      new RecallLog(std::move(file), static_cast<std::byte*>(memory), size, options));
}

RecallLog::RecallLog(UniqueFd file, std::byte* memory, size_t size, const Options& options)
    : file_(std::move(file)), memory_(memory), size_(size), options_(options) {
  TakeOver();
}

RecallLog::~RecallLog() { munmap(memory_, size_); }

RecallLog::Header& RecallLog::header() const { return *reinterpret_cast<Header*>(memory_); }

RecallRecord& RecallLog::record(uint32_t index) const {
  auto* first = memory_ + Header::kBytes + options_.session_count * sizeof(SessionRow);
  return reinterpret_cast<RecallRecord*>(first)[index];
}

RecallLog::SessionRow& RecallLog::row(uint32_t index) const {
  return reinterpret_cast<SessionRow*>(memory_ + Header::kBytes)[index];
}

void RecallLog::TakeOver() {
  Header& header = this->header();
  header.magic = kMagic;
  header.record_count = options_.record_count;
  header.session_count = options_.session_count;
  header.boot[0] = options_.boot[0];
  header.boot[1] = options_.boot[1];
  header.ended_in_order = 0;

  absl::MutexLock lock(&mutex_);
  std::vector<std::pair<uint64_t, SessionId>> order;
  for (uint32_t i = options_.session_count; i-- > 0;) {
    const SessionId session{{row(i).session[0], row(i).session[1]}};
    if (session.none() || row(i).key_size > wire::kMaxKeyNameBytes) {
      free_rows_.push_back(i);
      continue;
    }
    order.emplace_back(row(i).number, session);
    sessions_.emplace(session, Known{i, true, {}});
  }
  std::sort(order.begin(), order.end());
  for (const auto& [number, session] : order) over_.push_back(session);
  // Those beyond have nothing to say, and stay out of memory.
  for (uint32_t i = options_.record_count; i-- > header.used_count;) free_records_.push_back(i);
  for (uint32_t i = header.used_count; i-- > 0;) {
    const RecallRecord& kept = record(i);
    auto found = sessions_.find(SessionId{{kept.session[0], kept.session[1]}});
    if (found == sessions_.end()) {
      free_records_.push_back(i);
    } else {
      found->second.records.emplace(Place{kept.channel, kept.slot}, i);
    }
  }
}

bool RecallLog::AddSession(const SessionId& session, std::string_view key) {
  absl::MutexLock lock(&mutex_);
  if (key.size() > wire::kMaxKeyNameBytes || sessions_.contains(session)) return false;
  if (free_rows_.empty() && !ForgetOldest()) return false;
  const uint32_t index = free_rows_.back();
  free_rows_.pop_back();
  SessionRow& made = row(index);
  made.number = ++header().begun_count;
  made.incomplete = 0;
  made.key_size = static_cast<uint32_t>(key.size());
  std::copy(key.begin(), key.end(), made.key);
  std::atomic_signal_fence(std::memory_order_release);
  made.session[0] = session.words[0];
  made.session[1] = session.words[1];
  sessions_.emplace(session, Known{index, false, {}});
  return true;
}

void RecallLog::EndSession(const SessionId& session) {
  absl::MutexLock lock(&mutex_);
  auto found = sessions_.find(session);
  if (found == sessions_.end() || std::exchange(found->second.over, true)) return;
  over_.push_back(session);
}

bool RecallLog::ForgetOldest() {
  if (over_.empty()) return false;
  auto found = sessions_.find(over_.front());
  over_.pop_front();
  SessionRow& forgotten = row(found->second.row);
  forgotten.session[0] = forgotten.session[1] = 0;
  free_rows_.push_back(found->second.row);
  for (const auto& [place, index] : found->second.records) {
    RecallRecord& kept = record(index);
    kept.session[0] = kept.session[1] = 0;
    kept.state.store(RecallRecord::kIdle, std::memory_order_relaxed);
    free_records_.push_back(index);
  }
  sessions_.erase(found);
  return true;
}

RecallRecord* RecallLog::RecordOf(const SessionId& session, uint16_t channel, uint16_t slot) {
  absl::MutexLock lock(&mutex_);
  auto found = sessions_.find(session);
  if (found == sessions_.end()) return nullptr;
  auto place = found->second.records.find({channel, slot});
  if (place != found->second.records.end()) return &record(place->second);
  while (free_records_.empty() && ForgetOldest()) {
  }
  if (free_records_.empty()) {
    row(found->second.row).incomplete = 1;
    return nullptr;
  }
  const uint32_t index = free_records_.back();
  free_records_.pop_back();
  header().used_count = std::max(header().used_count, index + 1);
  RecallRecord& made = record(index);
  made.state.store(RecallRecord::kIdle, std::memory_order_relaxed);
  made.sequence = 0;
  made.channel = channel;
  made.slot = slot;
  std::atomic_signal_fence(std::memory_order_release);
  made.session[0] = session.words[0];
  made.session[1] = session.words[1];
  found->second.records.emplace(Place{channel, slot}, index);
  return &made;
}

RecallLog::Answer RecallLog::Find(const Question& question) const {
  absl::MutexLock lock(&mutex_);
  Answer answer;
  auto found = sessions_.find(question.session);
  // One that still goes on has calls under way.
  if (found == sessions_.end() || !found->second.over) return answer;
  const SessionRow& session = row(found->second.row);
  if (std::string_view(session.key, session.key_size) != question.key) return answer;
  auto place = found->second.records.find({question.channel, question.slot});
  if (place == found->second.records.end()) {
    if (session.incomplete == 0) answer.fate = Fate::kNeverBegun;
    return answer;
  }
  const RecallRecord& kept = record(place->second);
  const uint32_t state = kept.state.load(std::memory_order_acquire);
  if (state == RecallRecord::kIdle || kept.sequence < question.sequence) {
    answer.fate = Fate::kNeverBegun;
    return answer;
  }
  if (state != RecallRecord::kDone || kept.sequence != question.sequence ||
      kept.opcode != question.opcode) {
    return answer;
  }
  answer.fate = Fate::kDone;
  answer.reply.status = Errno(static_cast<int>(kept.status));
  answer.reply.size_bytes = std::min<uint16_t>(kept.reply_size, KeptReply::kMaxBodyBytes);
  answer.reply.bytes = kept.reply;
  answer.request.assign(reinterpret_cast<const char*>(kept.arguments.data()),
                        std::min<size_t>(kept.body_size, kept.arguments.size()));
  return answer;
}

std::vector<RecallRecord*> RecallLog::RecordsIn(RecallRecord::State state) {
  absl::MutexLock lock(&mutex_);
  std::vector<RecallRecord*> found;
  for (const auto& [session, known] : sessions_) {
    for (const auto& [place, index] : known.records) {
      if (record(index).state.load(std::memory_order_acquire) == state)
        found.push_back(&record(index));
    }
  }
  return found;
}

void RecallLog::EndInOrder() {
  header().ended_in_order = 1;
  // What cannot be synced is a log that says nothing.
  (void)msync(memory_, size_, MS_SYNC);
}

}  // namespace rdmafs::server
