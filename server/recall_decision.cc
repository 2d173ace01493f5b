#include "server/recall_decision.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "server/attachment.h"
#include "server/recall_evidence.h"

namespace rdmafs::server {
namespace {

using wire::FileHandle;
using wire::Opcode;

// What a call has made is that old at most: one system call takes no longer.
constexpr int64_t kMakingSeconds = 1;

const Identity kServer{.umask = 022};

FileHandle Kept(uint16_t size, const std::array<std::byte, wire::kMaxHandleBytes>& bytes) {
  FileHandle handle;
  handle.size_bytes = std::min<uint16_t>(size, wire::kMaxHandleBytes);
  std::memcpy(handle.bytes.data(), bytes.data(), handle.size_bytes);
  return handle;
}

// What is to be decided, with the store that it was done in.
struct Doubt {
  RecallRecord& record;
  Store& store;

  template <typename Request>
  bool Decode(Request& request) const {
    wire::Decoder decoder(absl::MakeConstSpan(record.arguments).first(record.body_size));
    return request.Code(decoder) && decoder.AtEnd();
  }
  std::string_view text() const {
    return {reinterpret_cast<const char*>(record.arguments.data()) + record.body_size,
            record.text_size};
  }
  bool Has(uint16_t evidence) const { return (record.evidence & evidence) == evidence; }
  FileHandle first() const { return Kept(record.first_size, record.first); }
  FileHandle second() const { return Kept(record.second_size, record.second); }

  // What the name stands for now; an empty handle: nothing. False: it cannot be said.
  bool Now(const FileHandle& parent, std::string_view name, FileHandle& now) const {
    auto named = store.Identify(kServer, parent, name);
    if (named.ok()) now = *named;
    return named.ok() || named.error() == Errno(ENOENT);
  }

  template <typename Message>
  RecallRecord::State Done(const Message& message) const {
    record.status = 0;
    record.reply_size =
        static_cast<uint16_t>(wire::Encode(message, absl::MakeSpan(record.reply)).size());
    return RecallRecord::kDone;
  }
  RecallRecord::State Done() const {
    record.status = record.reply_size = 0;
    return RecallRecord::kDone;
  }
  RecallRecord::State Done(const StoreEntry& entry) const {
    return Done(wire::EntryReply{.attributes = entry.attributes, .handle = entry.handle});
  }
};

using State = RecallRecord::State;
constexpr State kNeverBegun = RecallRecord::kIdle;

// Objects that are known to be another call's work.
using Claims = std::vector<FileHandle>;

// Whether the object came into being, or got its name, with this call, and nobody has touched it
// since.
bool IsOfThisMoment(const RecallRecord& record, const wire::Attributes& now) {
  const auto earlier = [](int64_t a_s, uint32_t a_ns, int64_t b_s, uint32_t b_ns) {
    return a_s != b_s ? a_s < b_s : a_ns < b_ns;
  };
  return !earlier(now.ctime_s, now.ctime_ns, record.begun_s, record.begun_ns) &&
         !earlier(record.begun_s + kMakingSeconds, record.begun_ns, now.ctime_s, now.ctime_ns);
}

// MKNOD, MKDIR, SYMLINK, CREATE: `fits` compares what is there with what was asked for.
template <typename Request, typename Fits>
State DecideMade(const Doubt& doubt, Claims& claims, Fits fits) {
  Request r;
  if (!doubt.Decode(r) || !doubt.Has(kFirstKnown)) return RecallRecord::kUndecided;
  if (doubt.record.first_size != 0) return kNeverBegun;  // done now, it is EEXIST
  auto entry = doubt.store.Lookup(kServer, r.parent, r.name);
  if (!entry.ok()) return entry.error() == Errno(ENOENT) ? kNeverBegun : RecallRecord::kUndecided;
  if (std::find(claims.begin(), claims.end(), entry->handle) != claims.end()) return kNeverBegun;
  if (!IsOfThisMoment(doubt.record, entry->attributes) ||
      entry->attributes.uid != doubt.record.uid || !fits(r, *entry)) {
    return RecallRecord::kUndecided;
  }
  claims.push_back(entry->handle);
  return doubt.Done(*entry);
}

bool HasType(const StoreEntry& entry, uint32_t mode) {
  return (entry.attributes.mode & S_IFMT) == (mode & S_IFMT);
}

State DecideMkNod(const Doubt& doubt, Claims& claims) {
  return DecideMade<wire::MkNodRequest>(doubt, claims, [](const auto& r, const StoreEntry& entry) {
    const uint32_t type = (r.mode & S_IFMT) == 0 ? S_IFREG : r.mode & S_IFMT;
    const bool device = type == S_IFCHR || type == S_IFBLK;
    return HasType(entry, type) && entry.attributes.size == 0 &&
           (!device || (entry.attributes.rdev_major == r.rdev_major &&
                        entry.attributes.rdev_minor == r.rdev_minor));
  });
}

State DecideMkDir(const Doubt& doubt, Claims& claims) {
  return DecideMade<wire::MkDirRequest>(
      doubt, claims, [](const auto&, const StoreEntry& entry) { return HasType(entry, S_IFDIR); });
}

State DecideSymLink(const Doubt& doubt, Claims& claims) {
  return DecideMade<wire::SymLinkRequest>(doubt, claims, [&](const auto&, const StoreEntry& entry) {
    if (!HasType(entry, S_IFLNK)) return false;
    auto target = doubt.store.ReadLink(kServer, entry.handle);
    return target.ok() && *target == doubt.text();
  });
}

State DecideCreate(const Doubt& doubt, Claims& claims) {
  return DecideMade<wire::CreateRequest>(doubt, claims, [](const auto&, const StoreEntry& entry) {
    return HasType(entry, S_IFREG) && entry.attributes.size == 0;
  });
}

State DecideLink(const Doubt& doubt) {
  wire::LinkRequest r;
  if (!doubt.Decode(r) || !doubt.Has(kFirstKnown)) return RecallRecord::kUndecided;
  if (doubt.record.first_size != 0) return kNeverBegun;
  auto entry = doubt.store.Lookup(kServer, r.new_parent, r.new_name);
  if (!entry.ok()) return entry.error() == Errno(ENOENT) ? kNeverBegun : RecallRecord::kUndecided;
  return entry->handle == r.handle ? doubt.Done(*entry) : RecallRecord::kUndecided;
}

template <typename Request>
State DecideRemoved(const Doubt& doubt) {
  Request r;
  FileHandle now;
  if (!doubt.Decode(r) || !doubt.Has(kFirstKnown)) return RecallRecord::kUndecided;
  if (doubt.record.first_size == 0) return kNeverBegun;  // done now, it is ENOENT
  if (!doubt.Now(r.parent, r.name, now)) return RecallRecord::kUndecided;
  return now == doubt.first() ? kNeverBegun : doubt.Done();
}

State DecideRename(const Doubt& doubt) {
  wire::RenameRequest r;
  FileHandle from, to;
  if (!doubt.Decode(r) || !doubt.Has(kFirstKnown | kSecondKnown)) return RecallRecord::kUndecided;
  if (doubt.record.first_size == 0) return kNeverBegun;
  if (!doubt.Now(r.parent, r.name, from) || !doubt.Now(r.new_parent, r.new_name, to)) {
    return RecallRecord::kUndecided;
  }
  if (from == doubt.first()) return kNeverBegun;
  const bool exchanged = (r.flags & RENAME_EXCHANGE) == 0 || from == doubt.second();
  return to == doubt.first() && exchanged ? doubt.Done() : RecallRecord::kUndecided;
}

// Whether the file has the first `count` bytes of what was appended at `offset`.
bool HasAppended(const Doubt& doubt, uint64_t offset, uint64_t count, uint64_t total) {
  auto opened = doubt.store.Open(kServer, doubt.first(), O_RDONLY, false);
  if (!opened.ok()) return false;
  const std::string_view sample = doubt.text();
  const auto matches = [&](uint64_t at, std::string_view expected) {
    std::string found(expected.size(), '\0');
    auto read = opened->file->Read(
        absl::MakeSpan(reinterpret_cast<std::byte*>(found.data()), found.size()), offset + at);
    return read.ok() && *read == found.size() && found == expected;
  };
  const size_t head = std::min<size_t>(sample.size() == total ? total : kRecallSampleBytes, count);
  if (!matches(0, sample.substr(0, head))) return false;
  if (count < total || sample.size() == total) return true;
  return matches(total - kRecallSampleBytes, sample.substr(kRecallSampleBytes));
}

// A process that is killed in the middle of a large write leaves a part of it: write(2)'s short
// count.
State DecideAppend(const Doubt& doubt) {
  wire::WriteRequest r;
  if (!doubt.Decode(r) || !doubt.Has(kSizeKnown)) return RecallRecord::kUndecided;
  auto now = doubt.store.GetAttr(kServer, doubt.first(), nullptr);
  if (!now.ok() || now->size < doubt.record.file_size) return RecallRecord::kUndecided;
  const uint64_t count = std::min<uint64_t>(now->size - doubt.record.file_size, r.size);
  if (count == 0) return kNeverBegun;
  if (!HasAppended(doubt, doubt.record.file_size, count, r.size)) return RecallRecord::kUndecided;
  return doubt.Done(wire::CountReply{count});
}

// Collapse and insert change the size by what they move.
State DecideFallocate(const Doubt& doubt) {
  wire::FallocateRequest r;
  if (!doubt.Decode(r) || !doubt.Has(kSizeKnown)) return RecallRecord::kUndecided;
  auto now = doubt.store.GetAttr(kServer, doubt.first(), nullptr);
  if (!now.ok()) return RecallRecord::kUndecided;
  if (now->size == doubt.record.file_size) return kNeverBegun;
  const bool grows = (r.mode & FALLOC_FL_INSERT_RANGE) != 0;
  const uint64_t expected = doubt.record.file_size + (grows ? r.length : -r.length);
  return now->size == expected ? doubt.Done() : RecallRecord::kUndecided;
}

State Decide(const Doubt& doubt, Claims& claims) {
  switch (static_cast<Opcode>(doubt.record.opcode)) {
    case Opcode::kMkNod:
      return DecideMkNod(doubt, claims);
    case Opcode::kMkDir:
      return DecideMkDir(doubt, claims);
    case Opcode::kSymLink:
      return DecideSymLink(doubt, claims);
    case Opcode::kCreate:
      return DecideCreate(doubt, claims);
    case Opcode::kLink:
      return DecideLink(doubt);
    case Opcode::kUnlink:
      return DecideRemoved<wire::UnlinkRequest>(doubt);
    case Opcode::kRmDir:
      return DecideRemoved<wire::RmDirRequest>(doubt);
    case Opcode::kRename:
      return DecideRename(doubt);
    case Opcode::kWrite:
      return DecideAppend(doubt);
    case Opcode::kFallocate:
      return DecideFallocate(doubt);
    default:
      return RecallRecord::kUndecided;
  }
}

// What those that did end have made is theirs.
Claims ClaimsOf(RecallLog& log) {
  Claims claims;
  for (const RecallRecord* done : log.RecordsIn(RecallRecord::kDone)) {
    const auto opcode = static_cast<Opcode>(done->opcode);
    const bool makes = opcode == Opcode::kMkNod || opcode == Opcode::kMkDir ||
                       opcode == Opcode::kSymLink || opcode == Opcode::kCreate;
    if (!makes || done->status != 0 || done->reply_size > done->reply.size()) continue;
    wire::Decoder decoder(absl::MakeConstSpan(done->reply).first(done->reply_size));
    wire::EntryReply reply;
    if (reply.Code(decoder)) claims.push_back(reply.handle);
  }
  return claims;
}

// The export that the call was about: of its first handle.
bool ExportOf(const RecallRecord& record, uint32_t& export_id) {
  if ((record.evidence & kSizeKnown) != 0)
    return ExportIdOf(Kept(record.first_size, record.first), export_id);
  // Every request that names an object begins with the caller and that object's handle.
  wire::HandleRequest<Opcode::kReadLink> r;
  wire::Decoder decoder(absl::MakeConstSpan(record.arguments).first(record.body_size));
  return r.Code(decoder) && ExportIdOf(r.handle, export_id);
}

}  // namespace

void DecideCallsInDoubt(RecallLog& log, const StoreOf& store_of) {
  Claims claims = ClaimsOf(log);
  for (RecallRecord* record : log.RecordsIn(RecallRecord::kBegun)) {
    State state = RecallRecord::kUndecided;
    uint32_t export_id;
    if (record->body_size <= record->arguments.size() &&
        record->text_size <= record->arguments.size() - record->body_size &&
        ExportOf(*record, export_id)) {
      if (Store* store = store_of(export_id)) state = Decide({*record, *store}, claims);
    }
    record->state.store(state, std::memory_order_release);
  }
}

}  // namespace rdmafs::server
