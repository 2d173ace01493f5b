// READ and WRITE, the hot path: no allocation, no copy; and FSYNC, FALLOCATE, LSEEK,
// COPY_FILE_RANGE.
#include "fuse/attributes.h"
#include "fuse/caller.h"
#include "fuse/handlers.h"

namespace rdmafs::fuse {
namespace {

// A read or write that does not say whose it is goes through the kernel's page cache. Notes it in
// the node, if there is one.
Node* NodeOfPages(Context& context, const Request& request, bool has_owner) {
  if (has_owner) return nullptr;
  Node* node = context.nodes().Find(request.header.nodeid);
  if (node != nullptr && !node->may_have_pages.load(std::memory_order_relaxed))
    node->may_have_pages.store(true, std::memory_order_relaxed);
  return node;
}

void AnswerRead(Context& context, const Ticket& ticket, uint32_t size,
                const Result<Payload>& result) {
  if (!result.ok()) {
    context.Answer(ticket, result.error());
  } else if (result->bytes.size() > size) {
    context.Answer(ticket, Errno(EIO));
  } else {
    context.Answer(ticket, *result);
  }
}

// A small read's data comes in the answer's own message, so its block is free for the next request.
ReadRequest MakeRead(Request& request, const fuse_read_in& in, OpenId open_id) {
  ReadRequest read{open_id, in.offset, in.size, {}};
  if (in.size > wire::kMaxInlineBytes) {
    read.destination.bytes = request.block.payload().first(in.size);
    read.destination.hold = std::move(request.block);
  }
  return read;
}

// Of a file that somebody may be writing to through the page cache.
struct ReadOfPages final : PageReads::Read {
  ReadOfPages(Context& asker, Request& request, const fuse_read_in& in, OpenId open_id)
      : Read(asker.loop(), request.header.nodeid, in.offset, in.size),
        context(asker),
        ticket(request.ticket),
        data(MakeRead(request, in, open_id)) {}

  void Ask(std::shared_ptr<Read> self) override {
    if (!context.page_reads().Begin(self)) return;
    context.file_system().Read(data, [this, self](Result<Payload> result) {
      if (!context.page_reads().End(self) && result.ok()) return Ask(self);
      AnswerRead(context, ticket, data.size, result);
    });
  }

  Context& context;
  const Ticket ticket;
  const ReadRequest data;
};

}  // namespace

void HandleRead(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_read_in in;
  if (!arguments.Take(in) || in.size > wire::kMaxPayloadBytes)
    return AnswerMalformed(context, request, arguments);
  const OpenId open_id = FindOpenFile(context, request, in.fh);
  if (open_id == 0) return;
  const Node* node = NodeOfPages(context, request, (in.read_flags & FUSE_READ_LOCKOWNER) != 0);
  if (node != nullptr && node->writer_count.load(std::memory_order_relaxed) != 0) {
    const auto read = std::make_shared<ReadOfPages>(context, request, in, open_id);
    return read->Ask(read);
  }
  ReadRequest read = MakeRead(request, in, open_id);
  read.destination.by_pipe = in.size > wire::kMaxInlineBytes && context.takes_pipes();
  auto reply = [context = &context, ticket = request.ticket, size = in.size](
                   Result<Payload> result) { AnswerRead(*context, ticket, size, result); };
  static_assert(Reply<Payload>::Function::kFits<decltype(reply)>);
  context.file_system().Read(std::move(read), std::move(reply));
}

void HandleWrite(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_write_in in;
  if (!arguments.Take(in) || in.size > wire::kMaxPayloadBytes ||
      in.size != arguments.rest().size()) {
    return AnswerMalformed(context, request, arguments);
  }
  const OpenId open_id = FindOpenFile(context, request, in.fh);
  if (open_id == 0) return;
  WriteRequest write{open_id, in.offset, {}, 0, request.header.uid, request.header.gid};
  const bool kill = (in.write_flags & FUSE_WRITE_KILL_SUIDGID) != 0;
  if (kill) write.options = wire::kWriteKillSuidGid;
  write.source.bytes = request.arguments.last(in.size);
  write.source.hold = std::move(request.block);
  const Node* node = NodeOfPages(context, request, (in.write_flags & FUSE_WRITE_LOCKOWNER) != 0);
  // For pages that are written back later, the kernel keeps that order itself.
  const bool orders_reads = node != nullptr && (in.write_flags & FUSE_WRITE_CACHE) == 0;
  if (orders_reads) {
    context.page_reads().BeginWrite(node->id, request.ticket.unique, in.offset,
                                    in.offset + in.size);
  }
  auto reply = [context = &context, ticket = request.ticket, node_id = request.header.nodeid,
                size = in.size, kill, orders_reads](Result<uint64_t> result) {
    if (orders_reads) context->page_reads().EndWrite(node_id, ticket.unique);
    if (!result.ok() || *result > size) {
      context->Answer(ticket, result.ok() ? Errno(EIO) : result.error());
      return;
    }
    if (kill) InvalidateClearedMode(*context, node_id);
    context->Answer(ticket, kOk, BytesOf(fuse_write_out{static_cast<uint32_t>(*result), 0}));
  };
  static_assert(Reply<uint64_t>::Function::kFits<decltype(reply)>);
  context.file_system().Write(std::move(write), std::move(reply));
}

namespace {

Reply<Unit> UnitReply(Context& context, const Request& request) {
  return [context = &context, ticket = request.ticket](Result<Unit> result) {
    context->Answer(ticket, result);
  };
}

}  // namespace

void HandleFsync(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_fsync_in in;
  if (!arguments.Take(in)) return AnswerMalformed(context, request, arguments);
  const OpenId open_id = FindOpenFile(context, request, in.fh);
  if (open_id == 0) return;
  context.file_system().Fsync(open_id, (in.fsync_flags & FUSE_FSYNC_FDATASYNC) != 0,
                              UnitReply(context, request));
}

void HandleFallocate(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_fallocate_in in;
  if (!arguments.Take(in)) return AnswerMalformed(context, request, arguments);
  const OpenId open_id = FindOpenFile(context, request, in.fh);
  if (open_id == 0) return;
  context.file_system().Fallocate(CallerWithoutGroups(request.header), open_id, in.offset,
                                  in.length, in.mode,
                              [context = &context, ticket = request.ticket,
                               node_id = request.header.nodeid](Result<Unit> result) {
                                if (result.ok()) InvalidateClearedMode(*context, node_id);
                                context->Answer(ticket, result);
                              });
}

void HandleSeek(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_lseek_in in;
  if (!arguments.Take(in)) return AnswerMalformed(context, request, arguments);
  const OpenId open_id = FindOpenFile(context, request, in.fh);
  if (open_id == 0) return;
  context.file_system().Seek(
      open_id, in.offset, in.whence,
      [context = &context, ticket = request.ticket](Result<uint64_t> result) {
        if (!result.ok()) {
          context->Answer(ticket, result.error());
          return;
        }
        context->Answer(ticket, kOk, BytesOf(fuse_lseek_out{*result}));
      });
}

void HandleCopyFileRange(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_copy_file_range_in in;
  if (!arguments.Take(in)) return AnswerMalformed(context, request, arguments);
  // The kernel has room for 32 bits of the count; a short copy is continued by the caller.
  constexpr uint64_t kMostBytes = uint64_t{1} << 30;
  const OpenId in_id = FindOpenFile(context, request, in.fh_in);
  if (in_id == 0) return;
  const OpenId out_id = FindOpenFile(context, request, in.fh_out);
  if (out_id == 0) return;
  context.file_system().CopyFileRange(
      CallerWithoutGroups(request.header),
      {in_id, in.off_in, out_id, in.off_out, std::min<uint64_t>(in.len, kMostBytes)},
      [context = &context, ticket = request.ticket,
       node_id = in.nodeid_out](Result<uint64_t> result) {
        if (!result.ok()) {
          context->Answer(ticket, result.error());
          return;
        }
        InvalidateClearedMode(*context, node_id);
        context->Answer(ticket, kOk, BytesOf(fuse_write_out{static_cast<uint32_t>(*result), 0}));
      });
}

}  // namespace rdmafs::fuse
