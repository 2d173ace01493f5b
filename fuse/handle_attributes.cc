// GETATTR, SETATTR, READLINK, ACCESS, STATFS, SYNCFS.
#include "fuse/attributes.h"
#include "fuse/caller.h"
#include "fuse/handlers.h"
#include "fuse/page_fill.h"

namespace rdmafs::fuse {
namespace {

Reply<Attributes> AttributesReply(Context& context, const Request& request, Node& node) {
  return [context = &context, ticket = request.ticket, node = &node](Result<Attributes> result) {
    if (!result.ok()) {
      context->Answer(ticket, result.error());
      return;
    }
    context->Answer(ticket, kOk, BytesOf(AttributesAnswer(*context, *node, *result, ticket.start)));
  };
}

// Answers what the last change of names in a directory left.
bool AnswerKept(Context& context, const Request& request, Node& node) {
  const auto kept = context.directories().Take(node.id, request.ticket.start);
  if (!kept) return false;
  const Nanoseconds asked = kept->until - context.settings().attr_timeout;
  const Nanoseconds left = kept->until - request.ticket.start;
  context.Answer(request.ticket, kOk,
                 BytesOf(AttributesAnswer(context, node, kept->attributes, asked, left)));
  return true;
}

SetAttributes ToServer(const fuse_setattr_in& in) {
  constexpr std::pair<uint32_t, uint32_t> kBits[] = {
      {FATTR_MODE, wire::kSetMode},
      {FATTR_UID, wire::kSetUid},
      {FATTR_GID, wire::kSetGid},
      {FATTR_SIZE, wire::kSetSize},
      {FATTR_ATIME, wire::kSetAtime},
      {FATTR_MTIME, wire::kSetMtime},
      {FATTR_ATIME_NOW, wire::kSetAtimeNow},
      {FATTR_MTIME_NOW, wire::kSetMtimeNow},
      {FATTR_CTIME, wire::kSetCtime},
      {FATTR_KILL_SUIDGID, wire::kSetKillSuidGid},
  };
  SetAttributes changes{};
  for (auto [from, to] : kBits) {
    if ((in.valid & from) != 0) changes.valid |= to;
  }
  changes.mode = in.mode;
  changes.uid = in.uid;
  changes.gid = in.gid;
  changes.size = in.size;
  changes.atime_s = static_cast<int64_t>(in.atime);
  changes.mtime_s = static_cast<int64_t>(in.mtime);
  changes.atime_ns = in.atimensec;
  changes.mtime_ns = in.mtimensec;
  return changes;
}

fuse_statfs_out StatfsAnswer(const FileSystemStatistics& statistics) {
  fuse_statfs_out out{};
  out.st.blocks = statistics.blocks;
  out.st.bfree = statistics.blocks_free;
  out.st.bavail = statistics.blocks_available;
  out.st.files = statistics.files;
  out.st.ffree = statistics.files_free;
  out.st.bsize = statistics.block_size;
  out.st.frsize = statistics.fragment_size;
  out.st.namelen = statistics.name_max;
  return out;
}

// umount(8) looks at the mount point and its file system first: it does not wait for a server that
// may never come back, but is shown what was there.
fuse_attr_out RootAttributesSeen(Context& context) {
  fuse_attr_out out{};  // valid for no time at all: the next one asks again
  out.attr = ToKernel(context.nodes().root_seen().attributes);
  return out;
}

fuse_statfs_out RootStatisticsSeen(Context& context) {
  return StatfsAnswer(context.nodes().root_seen().statistics);
}

}  // namespace

void AnswerRootQuestions(Context& context) {
  for (const Ticket& ticket : context.TakeRootQuestions()) {
    if (ticket.opcode == FUSE_GETATTR) {
      context.AnswerEarly(ticket, BytesOf(RootAttributesSeen(context)));
    } else {
      context.AnswerEarly(ticket, BytesOf(RootStatisticsSeen(context)));
    }
  }
}

void HandleGetAttr(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_getattr_in in;
  if (!arguments.Take(in)) return AnswerMalformed(context, request, arguments);
  Node* node = FindNode(context, request);
  if (node == nullptr) return;
  if (node->id == NodeTable::kRootId) {
    if (context.server_is_lost()) {
      context.Answer(request.ticket, kOk, BytesOf(RootAttributesSeen(context)));
      return;
    }
    context.AddRootQuestion(request.ticket);
  }
  if (AnswerKept(context, request, *node)) return;
  const OpenId open_id =
      (in.getattr_flags & FUSE_GETATTR_FH) != 0 ? UseOpenFile(context, in.fh) : 0;
  context.file_system().GetAttr(CallerWithoutGroups(request.header), node->handle, open_id,
                                AttributesReply(context, request, *node));
}

void HandleSetAttr(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_setattr_in in;
  if (!arguments.Take(in)) return AnswerMalformed(context, request, arguments);
  Node* node = FindNode(context, request);
  if (node == nullptr) return;
  const OpenId open_id = (in.valid & FATTR_FH) != 0 ? UseOpenFile(context, in.fh) : 0;
  const bool resizes = (in.valid & FATTR_SIZE) != 0;
  if (resizes) SeeResize(*node);
  context.file_system().SetAttr(
      context.CallerOf(request), node->handle, open_id, ToServer(in),
      [context = &context, resized = resizes ? node : nullptr,
       change = context.directories().Begin(node->id),
       reply = AttributesReply(context, request, *node)](Result<Attributes> result) mutable {
        EndChange(*context, change, Attributes());
        if (resized != nullptr) SeeResize(*resized);
        reply.Complete(std::move(result));
      });
}

void HandleReadLink(Context& context, Request& request) {
  Node* node = FindNode(context, request);
  if (node == nullptr) return;
  context.file_system().ReadLink(
      CallerWithoutGroups(request.header), node->handle,
      [context = &context, ticket = request.ticket](Result<Payload> result) {
        if (!result.ok()) {
          context->Answer(ticket, result.error());
          return;
        }
        context->Answer(ticket, kOk, {}, result->bytes);
      });
}

void HandleAccess(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_access_in in;
  if (!arguments.Take(in)) return AnswerMalformed(context, request, arguments);
  Node* node = FindNode(context, request);
  if (node == nullptr) return;
  context.file_system().Access(context.CallerOf(request), node->handle, in.mask,
                               [context = &context, ticket = request.ticket](Result<Unit> result) {
                                 context->Answer(ticket, result);
                               });
}

void HandleStatFs(Context& context, Request& request) {
  Node* node = FindNode(context, request);
  if (node == nullptr) return;
  const bool root = node->id == NodeTable::kRootId;
  if (root && context.server_is_lost()) {
    context.Answer(request.ticket, kOk, BytesOf(RootStatisticsSeen(context)));
    return;
  }
  if (root) context.AddRootQuestion(request.ticket);
  context.file_system().StatFs(
      CallerWithoutGroups(request.header), node->handle,
      [context = &context, ticket = request.ticket, root](Result<FileSystemStatistics> result) {
        if (!result.ok()) {
          context->Answer(ticket, result.error());
          return;
        }
        if (root) context->nodes().SeeRoot(*result);
        context->Answer(ticket, kOk, BytesOf(StatfsAnswer(*result)));
      });
}

void HandleSyncFs(Context& context, Request& request) {
  Node* node = FindNode(context, request);
  if (node == nullptr) return;
  context.file_system().SyncFs(CallerWithoutGroups(request.header), node->handle,
                               [context = &context, ticket = request.ticket](Result<Unit> result) {
                                 context->Answer(ticket, result);
                               });
}

}  // namespace rdmafs::fuse
