// GETXATTR, LISTXATTR, SETXATTR, REMOVEXATTR.
#include <algorithm>

#include "fuse/attributes.h"
#include "fuse/caller.h"
#include "fuse/handlers.h"

namespace rdmafs::fuse {
namespace {

void AnswerValue(Context& context, const Ticket& ticket, uint32_t asked_size,
                 const Result<FileSystem::XattrValue>& result) {
  if (!result.ok()) {
    context.Answer(ticket, result.error());
  } else if (asked_size == 0) {
    context.Answer(ticket, kOk, BytesOf(fuse_getxattr_out{static_cast<uint32_t>(result->size), 0}));
  } else if (result->payload.bytes.size() > asked_size) {
    context.Answer(ticket, Errno(ERANGE));
  } else {
    context.Answer(ticket, kOk, {}, result->payload.bytes);
  }
}

Reply<FileSystem::XattrValue> ValueReply(Context& context, const Request& request, uint32_t size) {
  return
      [context = &context, ticket = request.ticket, size](Result<FileSystem::XattrValue> result) {
        AnswerValue(*context, ticket, size, result);
      };
}

// Where a value of up to `size` bytes lands: the request's own block, behind the name that stands
// in it. A small one comes in the answer's message.
PayloadMemory Destination(Request& request, uint32_t size) {
  PayloadMemory memory;
  if (size <= wire::kMaxInlineBytes) return memory;
  memory.bytes = request.block.payload().subspan(request.block.size() / 2, size);
  memory.hold = std::move(request.block);
  return memory;
}

// What changes extended attributes changes ctime, and ACLs the mode.
Reply<Unit> ChangeReply(Context& context, const Request& request, Node& node) {
  return [context = &context, ticket = request.ticket, node = &node,
          change = context.directories().Begin(node.id)](Result<Unit> result) {
    EndChange(*context, change, Attributes());
    SeeXattrsChanged(*context, *node);
    context->Answer(ticket, result);
  };
}

}  // namespace

void HandleGetXattr(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_getxattr_in in;
  std::string_view name;
  if (!arguments.Take(in) || !arguments.TakeString(name))
    return AnswerMalformed(context, request, arguments);
  Node* node = FindNode(context, request);
  if (node == nullptr) return;
  if (std::ranges::count(wire::kPlainNames, name) != 0 && IsPlain(*node, request.ticket.start)) {
    context.Answer(request.ticket, Errno(ENODATA));
    return;
  }
  const uint32_t size = std::min(in.size, wire::kMaxXattrBytes);
  const Caller caller = context.CallerOf(request);
  context.file_system().GetXattr(caller, node->handle, name, size, Destination(request, size),
                                 ValueReply(context, request, size));
}

void HandleListXattr(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_getxattr_in in;
  if (!arguments.Take(in)) return AnswerMalformed(context, request, arguments);
  Node* node = FindNode(context, request);
  if (node == nullptr) return;
  if (IsPlain(*node, request.ticket.start, request.header.uid == 0)) {
    return AnswerValue(context, request.ticket, in.size, FileSystem::XattrValue());
  }
  const uint32_t size = std::min(in.size, wire::kMaxXattrBytes);
  const Caller caller = context.CallerOf(request);
  context.file_system().ListXattr(caller, node->handle, size, Destination(request, size),
                                  ValueReply(context, request, size));
}

void HandleSetXattr(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_setxattr_in in{};
  std::string_view name;
  bool whole = true;
  if (context.settings().setxattr_extended) {
    whole = arguments.Take(in);
  } else {
    whole = arguments.Take(in.size) && arguments.Take(in.flags);
  }
  if (!whole || !arguments.TakeString(name) || arguments.rest().size() != in.size ||
      in.size > wire::kMaxXattrBytes) {
    return AnswerMalformed(context, request, arguments);
  }
  Node* node = FindNode(context, request);
  if (node == nullptr) return;
  const bool kill_sgid = (in.setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID) != 0;
  const uint32_t options = kill_sgid ? uint32_t{wire::kSetXattrAclKillSgid} : 0;
  const Caller caller = context.CallerOf(request);
  PayloadMemory value;
  value.bytes = request.arguments.last(in.size);
  value.hold = std::move(request.block);
  context.file_system().SetXattr(caller, node->handle, name, std::move(value), in.flags, options,
                                 ChangeReply(context, request, *node));
}

void HandleRemoveXattr(Context& context, Request& request) {
  Arguments arguments = request.reader();
  std::string_view name;
  if (!arguments.TakeString(name)) return AnswerMalformed(context, request, arguments);
  Node* node = FindNode(context, request);
  if (node == nullptr) return;
  context.file_system().RemoveXattr(context.CallerOf(request), node->handle, name,
                                    ChangeReply(context, request, *node));
}

}  // namespace rdmafs::fuse
