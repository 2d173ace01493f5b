// READDIR and READDIRPLUS: the server's directory records become the kernel's.
#include "fuse/attributes.h"
#include "fuse/caller.h"
#include "fuse/directory_records.h"
#include "fuse/handlers.h"

namespace rdmafs::fuse {
namespace {

// A record of the kernel as it is put together, behind those that are there.
class RecordWriter {
 public:
  explicit RecordWriter(absl::Span<std::byte> space) : space_(space) {}

  size_t left() const { return space_.size() - used_; }
  // `head` stands before the dirent (READDIRPLUS); the record is padded to 8 bytes.
  void Append(absl::Span<const std::byte> head, const DirectoryRecord& record) {
    fuse_dirent dirent{};
    dirent.ino = record.header.ino;
    dirent.off = record.header.next_cookie;
    dirent.namelen = static_cast<uint32_t>(record.name.size());
    dirent.type = record.header.type;
    const size_t end = used_ + Size(head.size(), record);
    Put(head.data(), head.size());
    Put(&dirent, FUSE_NAME_OFFSET);
    Put(record.name.data(), record.name.size());
    std::memset(space_.data() + used_, 0, end - used_);
    used_ = end;
  }
  static size_t Size(size_t head_size, const DirectoryRecord& record) {
    return FUSE_DIRENT_ALIGN(head_size + FUSE_NAME_OFFSET + record.name.size());
  }
  absl::Span<const std::byte> written() const { return space_.first(used_); }

 private:
  void Put(const void* data, size_t size) {
    if (size != 0) std::memcpy(space_.data() + used_, data, size);
    used_ += size;
  }
  absl::Span<std::byte> space_;
  size_t used_ = 0;
};

// The kernel's node of an entry; node 0, which it then looks up when asked, when there is nothing
// to tell or it is "." or "..", whose lookups are never counted.
fuse_entry_out EntryOf(Context& context, const DirectoryRecord& record, Nanoseconds asked) {
  fuse_entry_out out{};
  if (!record.entry || record.name == "." || record.name == "..") return out;
  if (auto answer = MakeEntryAnswer(context, *record.entry, asked)) out = answer->out;
  return out;
}

// What the answer is made in, and of: both halves of one block.
struct Listing {
  Context* context;
  Ticket ticket;
  Buffer block;
  absl::Span<std::byte> space;
  bool plus;
  uint64_t directory;  // the kernel's number of the open directory
  DirectoryAttributes::Change change;
};

void AnswerListing(const Listing& listing, const Payload& payload) {
  Context& context = *listing.context;
  RecordWriter writer(listing.space);
  DirectoryReader reader(payload.bytes);
  uint64_t cookie = 0;
  while (auto record = reader.Next()) {
    const size_t head_size = listing.plus ? sizeof(fuse_entry_out) : 0;
    if (RecordWriter::Size(head_size, *record) > writer.left())
      break;  // comes with the next request
    if (listing.plus) {
      const fuse_entry_out entry = EntryOf(context, *record, listing.ticket.start);
      writer.Append(BytesOf(entry), *record);
    } else {
      writer.Append({}, *record);
    }
    cookie = record->header.next_cookie;
  }
  if (reader.at_end()) context.open_files().SeeEnd(listing.directory, cookie);
  if (!reader.ok()) {
    // Nothing of it can be believed; what was counted is taken back below.
    context.Answer(listing.ticket, Errno(EIO));
  } else if (context.Answer(listing.ticket, kOk, {}, writer.written())) {
    return;
  }
  if (listing.plus) ForgetRecords(context, writer.written());
}

void ReadDir(Context& context, Request& request, bool plus) {
  Arguments arguments = request.reader();
  fuse_read_in in;
  if (!arguments.Take(in)) return AnswerMalformed(context, request, arguments);
  const OpenId open_id = FindOpenFile(context, request, in.fh);
  if (open_id == 0) return;
  if (context.open_files().TakeEnd(in.fh, in.offset)) {
    context.Answer(request.ticket, kOk);
    return;
  }
  const Caller caller = context.CallerOf(request);
  // The server's records land in the block's second half, the kernel's are made in the first.
  absl::Span<std::byte> payload = request.block.payload();
  const size_t size = std::min<size_t>(in.size, payload.size() / 2);
  Listing listing{&context,
                  request.ticket,
                  std::move(request.block),
                  payload.first(size),
                  plus,
                  in.fh,
                  context.directories().Begin(request.header.nodeid)};
  ReadDirRequest read{open_id, in.offset, plus ? wire::kReadDirPlus : 0u, {}};
  read.destination.bytes = payload.subspan(payload.size() / 2, size);
  read.destination.hold = listing.block;
  context.file_system().ReadDir(caller, std::move(read),
                                [listing = std::move(listing)](Result<Payload> result) {
                                  // It was read: that sets its time of access.
                                  EndChange(*listing.context, listing.change, Attributes());
                                  if (result.ok()) return AnswerListing(listing, *result);
                                  listing.context->Answer(listing.ticket, result.error());
                                });
}

}  // namespace

void HandleReadDir(Context& context, Request& request) { ReadDir(context, request, false); }
void HandleReadDirPlus(Context& context, Request& request) { ReadDir(context, request, true); }

}  // namespace rdmafs::fuse
