// LOOKUP, FORGET, and what makes, removes and moves names.
#include "fuse/attributes.h"
#include "fuse/caller.h"
#include "fuse/handlers.h"

namespace rdmafs::fuse {
namespace {

// Answers with the entry that an operation made in `parent`.
Reply<Entry> MadeReply(Context& context, const Request& request, const Node& parent) {
  return [context = &context, ticket = request.ticket,
          change = context.directories().Begin(parent.id)](Result<Entry> result) {
    EndChange(*context, change, result.ok() ? result->parent : Attributes());
    AnswerEntry(*context, ticket, result);
  };
}

// Answers that names in `parent` have changed.
Reply<Attributes> NamesReply(Context& context, const Request& request, const Node& parent) {
  return [context = &context, ticket = request.ticket,
          change = context.directories().Begin(parent.id)](Result<Attributes> result) {
    const bool others = ticket.opcode != FUSE_UNLINK;  // a directory was removed, replaced or moved
    EndChange(*context, change, result.ok() ? *result : Attributes(), others);
    context->Answer(ticket, result.error());
  };
}

void AnswerLookup(Context& context, const Ticket& ticket, const Result<Entry>& result) {
  const Nanoseconds negative = context.settings().negative_timeout;
  if (result.error() != Errno(ENOENT) || negative == 0) return AnswerEntry(context, ticket, result);
  fuse_entry_out out{};  // node 0: the name is known not to be there
  out.entry_valid = static_cast<uint64_t>(negative / kSecond);
  out.entry_valid_nsec = static_cast<uint32_t>(negative % kSecond);
  context.Answer(ticket, kOk, BytesOf(out));
}

void Rename(Context& context, Request& request, Arguments& arguments, uint64_t new_directory,
            uint32_t flags) {
  std::string_view name, new_name;
  if (!arguments.TakeName(name) || !arguments.TakeName(new_name)) {
    return AnswerMalformed(context, request, arguments);
  }
  Node* parent = FindNode(context, request);
  if (parent == nullptr) return;
  Node* new_parent = FindNode(context, request, new_directory);
  if (new_parent == nullptr) return;
  context.file_system().Rename(
      context.CallerOf(request), parent->handle, name, new_parent->handle, new_name, flags,
      [context = &context, change = context.directories().Begin(parent->id),
       reply = NamesReply(context, request, *new_parent)](Result<Attributes> result) mutable {
        EndChange(*context, change, Attributes());
        reply.Complete(std::move(result));
      });
}

}  // namespace

void HandleLookup(Context& context, Request& request) {
  Arguments arguments = request.reader();
  std::string_view name;
  if (!arguments.TakeName(name)) return AnswerMalformed(context, request, arguments);
  Node* parent = FindNode(context, request);
  if (parent == nullptr) return;
  context.file_system().Lookup(context.CallerOf(request), parent->handle, name,
                               [context = &context, ticket = request.ticket](Result<Entry> result) {
                                 AnswerLookup(*context, ticket, result);
                               });
}

void HandleMkNod(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_mknod_in in;
  std::string_view name;
  if (!arguments.Take(in) || !arguments.TakeName(name))
    return AnswerMalformed(context, request, arguments);
  Node* parent = FindNode(context, request);
  if (parent == nullptr) return;
  context.file_system().MkNod(context.CallerOf(request, in.umask), parent->handle, name, in.mode,
                              DeviceMajor(in.rdev), DeviceMinor(in.rdev),
                              MadeReply(context, request, *parent));
}

void HandleMkDir(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_mkdir_in in;
  std::string_view name;
  if (!arguments.Take(in) || !arguments.TakeName(name))
    return AnswerMalformed(context, request, arguments);
  Node* parent = FindNode(context, request);
  if (parent == nullptr) return;
  context.file_system().MkDir(context.CallerOf(request, in.umask), parent->handle, name, in.mode,
                              MadeReply(context, request, *parent));
}

void HandleSymLink(Context& context, Request& request) {
  Arguments arguments = request.reader();
  std::string_view name, target;
  if (!arguments.TakeName(name) || !arguments.TakeString(target))
    return AnswerMalformed(context, request, arguments);
  Node* parent = FindNode(context, request);
  if (parent == nullptr) return;
  context.file_system().SymLink(context.CallerOf(request), parent->handle, name, target,
                                MadeReply(context, request, *parent));
}

void HandleLink(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_link_in in;
  std::string_view name;
  if (!arguments.Take(in) || !arguments.TakeName(name))
    return AnswerMalformed(context, request, arguments);
  Node* parent = FindNode(context, request);
  if (parent == nullptr) return;
  Node* node = FindNode(context, request, in.oldnodeid);
  if (node == nullptr) return;
  context.file_system().Link(context.CallerOf(request), node->handle, parent->handle, name,
                             MadeReply(context, request, *parent));
}

void HandleUnlink(Context& context, Request& request) {
  Arguments arguments = request.reader();
  std::string_view name;
  if (!arguments.TakeName(name)) return AnswerMalformed(context, request, arguments);
  Node* parent = FindNode(context, request);
  if (parent == nullptr) return;
  context.file_system().Unlink(context.CallerOf(request), parent->handle, name,
                               NamesReply(context, request, *parent));
}

void HandleRmDir(Context& context, Request& request) {
  Arguments arguments = request.reader();
  std::string_view name;
  if (!arguments.TakeName(name)) return AnswerMalformed(context, request, arguments);
  Node* parent = FindNode(context, request);
  if (parent == nullptr) return;
  context.file_system().RmDir(context.CallerOf(request), parent->handle, name,
                              NamesReply(context, request, *parent));
}

void HandleRename(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_rename_in in;
  if (!arguments.Take(in)) return AnswerMalformed(context, request, arguments);
  Rename(context, request, arguments, in.newdir, 0);
}

void HandleRename2(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_rename2_in in;
  if (!arguments.Take(in)) return AnswerMalformed(context, request, arguments);
  Rename(context, request, arguments, in.newdir, in.flags);
}

void HandleForget(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_forget_in in;
  if (arguments.Take(in)) ForgetLookups(context, request.header.nodeid, in.nlookup);
  context.Count(request.ticket, kOk);
}

void HandleBatchForget(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_batch_forget_in in;
  fuse_forget_one one;
  if (arguments.Take(in)) {
    for (uint32_t i = 0; i < in.count && arguments.Take(one); ++i) {
      ForgetLookups(context, one.nodeid, one.nlookup);
    }
  }
  context.Count(request.ticket, kOk);
}

}  // namespace rdmafs::fuse
