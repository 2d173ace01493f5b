// OPEN, OPENDIR, CREATE, TMPFILE, RELEASE, RELEASEDIR.
#include <fcntl.h>
#include <sys/stat.h>

#include "fuse/attributes.h"
#include "fuse/caller.h"
#include "fuse/handlers.h"
#include "fuse/page_fill.h"

namespace rdmafs::fuse {
namespace {

// What of open(2)'s flags means something to the server; the rest is the kernel's own business.
constexpr uint32_t kServerFlags = O_ACCMODE | O_APPEND | O_TRUNC | O_CREAT | O_EXCL | O_SYNC |
                                  O_DSYNC | O_DIRECT | O_DIRECTORY | O_NOFOLLOW | O_NOATIME |
                                  O_NONBLOCK | wire::kOpenForExecution;

uint32_t FlagsForServer(const Settings& settings, uint32_t flags) {
  flags &= kServerFlags;
  if (!settings.writeback || (flags & O_DIRECTORY) != 0) return flags;
  // The kernel writes whole pages back: it reads what it has not, and knows itself where the end
  // is.
  if ((flags & O_ACCMODE) == O_WRONLY) flags = (flags & ~uint32_t{O_ACCMODE}) | O_RDWR;
  return flags & ~uint32_t{O_APPEND};
}

uint32_t OpenOptions(uint32_t open_flags) {
  return (open_flags & FUSE_OPEN_KILL_SUIDGID) != 0 ? uint32_t{wire::kOpenKillSuidGid} : 0;
}

uint32_t OpenFlags(Context& context, Node& node, const Attributes& attributes, uint32_t flags) {
  PageCachePolicy::OpenDecision decision;
  {
    absl::MutexLock lock(&node.mutex);
    const bool settled = (attributes.flags & wire::kUnsettled) == 0;
    decision = node.cache.OnOpen(FileStamp::Of(attributes), settled, context.settings().cache);
  }
  if (decision.attributes_are_stale) InvalidateAttributes(context, node);
  uint32_t out = decision.keep_pages ? FOPEN_KEEP_CACHE : 0;
  const Settings& settings = context.settings();
  // A shared mmap of a direct_io file needs Linux 6.6: what is not mapped does not miss it.
  const bool may_go_direct = settings.direct_io_allows_mmap || (flags & O_ACCMODE) == O_WRONLY;
  if (settings.UsesDirectIo() || (may_go_direct && (flags & O_DIRECT) != 0)) {
    out |= FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES;
  } else if (may_go_direct && (flags & O_APPEND) != 0 && (flags & O_ACCMODE) != O_RDONLY &&
             !settings.writeback) {
    // Through the page cache the kernel cuts a write at the end of a page that it has not read, and
    // another client's record comes between the halves; and it keeps the data at its own idea of
    // the end.
    out |= FOPEN_DIRECT_IO;
  }
  return out;
}

// Answers with `entry`, if there is one, and the open file; undoes all when the kernel did not take
// it. `node`: whose OpenFlags() these are, and whose use it is, by open(2)'s `flags`; nullptr for a
// directory.
void AnswerOpened(Context& context, const Ticket& ticket, OpenId open_id, Node* node,
                  uint32_t flags, uint32_t open_flags, const fuse_entry_out* entry) {
  struct {
    fuse_entry_out entry;
    fuse_open_out open;
  } out{};
  if (entry != nullptr) out.entry = *entry;
  Node* const dropping = (open_flags & FOPEN_KEEP_CACHE) == 0 ? node : nullptr;
  const auto number = context.open_files().Add(open_id, dropping);
  out.open.fh = number.value_or(0);
  out.open.open_flags = open_flags;
  absl::Span<const std::byte> head = entry != nullptr ? BytesOf(out) : BytesOf(out.open);
  if (!number) head = {};
  if (context.Answer(ticket, number ? kOk : Errno(ENFILE), head) && number) return;
  if (number) {
    UseOpenFile(context, *number);
    context.open_files().Remove(*number);
  } else if (dropping != nullptr) {
    SeeDropped(*dropping);
  }
  // While it is still the same node.
  if (node != nullptr) EndUse(*node, flags);
  if (entry != nullptr) ForgetLookups(context, entry->nodeid, 1);
  context.Release(open_id);
}

void AnswerCreated(Context& context, const Ticket& ticket, OpenId open_id, uint32_t flags,
                   const Result<Entry>& result) {
  if (!result.ok()) {
    context.Answer(ticket, result.error());
    return;
  }
  auto entry = MakeEntryAnswer(context, *result, ticket.start);
  if (!entry) {
    context.Release(open_id);
    context.Answer(ticket, Errno(ENOMEM));
    return;
  }
  BeginUse(*entry->node, flags);
  AnswerOpened(context, ticket, open_id, entry->node, flags,
               OpenFlags(context, *entry->node, result->attributes, flags), &entry->out);
}

// An OPEN under way.
struct Opening {
  Context& context;
  Ticket ticket;
  Node& node;
  uint64_t use;
  OpenId open_id;
  uint32_t flags;

  void Fail(Errno error) const {
    EndUse(node, flags);
    context.Answer(ticket, error);
  }
  // `data`: what came along.
  void Answer(const Attributes& attributes, const Payload& data) const {
    if (IsReplaced(attributes)) {
      context.Release(open_id);
      return Fail(Errno(ESTALE));
    }
    const bool filled = FillPages(context, node, use, attributes, data.bytes);
    AnswerOpened(context, ticket, open_id, &node, flags,
                 filled ? FOPEN_KEEP_CACHE : OpenFlags(context, node, attributes, flags), nullptr);
  }
  // Another client has put another file in its place, and the kernel still believes the name: by
  // ESTALE it asks for that, and opens what it finds. Once: who comes again means this very file,
  // which need not have a name (/proc/self/fd).
  bool IsReplaced(const Attributes& attributes) const {
    return S_ISREG(attributes.mode) && attributes.nlink == 0 &&
           !node.told_replaced.exchange(true, std::memory_order_relaxed);
  }
};

}  // namespace

void HandleOpen(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_open_in in;
  if (!arguments.Take(in)) return AnswerMalformed(context, request, arguments);
  Node* node = FindNode(context, request);
  if (node == nullptr) return;
  const Opening opening{
      context, request.ticket, *node, BeginUse(*node, in.flags), context.file_system().NewOpenId(),
      in.flags};
  const uint32_t flags = FlagsForServer(context.settings(), in.flags);
  const uint32_t options = OpenOptions(in.open_flags);
  const uint32_t bytes = BytesToFill(context.settings(), *node, in.flags);
  if (bytes == 0) {
    return context.file_system().Open(
        context.CallerOf(request), node->handle, opening.open_id, flags, options,
        [opening](Result<Attributes> result) {
          if (!result.ok()) return opening.Fail(result.error());
          opening.Answer(*result, Payload());
        });
  }
  const Caller caller = context.CallerOf(request);
  ReadRequest first{opening.open_id, 0, bytes, {}};
  if (bytes > wire::kMaxInlineBytes) {
    first.destination.bytes = request.block.payload().first(bytes);
    first.destination.hold = std::move(request.block);
  }
  context.file_system().OpenAndRead(
      caller, node->handle, flags, options, std::move(first), [opening](Result<OpenedFile> result) {
        if (!result.ok()) return opening.Fail(result.error());
        opening.Answer(result->attributes, result->first);
      });
}

void HandleOpenDir(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_open_in in;
  if (!arguments.Take(in)) return AnswerMalformed(context, request, arguments);
  Node* node = FindNode(context, request);
  if (node == nullptr) return;
  const OpenId open_id = context.file_system().NewOpenId();
  context.file_system().Open(
      context.CallerOf(request), node->handle, open_id, O_RDONLY | O_DIRECTORY, 0,
      [context = &context, ticket = request.ticket, open_id](Result<Attributes> result) {
        if (!result.ok()) {
          context->Answer(ticket, result.error());
          return;
        }
        AnswerOpened(*context, ticket, open_id, nullptr, 0, 0, nullptr);
      });
}

void HandleCreate(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_create_in in;
  std::string_view name;
  if (!arguments.Take(in) || !arguments.TakeName(name))
    return AnswerMalformed(context, request, arguments);
  Node* parent = FindNode(context, request);
  if (parent == nullptr) return;
  const OpenId open_id = context.file_system().NewOpenId();
  context.file_system().Create(
      context.CallerOf(request, in.umask), parent->handle, name, open_id,
      FlagsForServer(context.settings(), in.flags), in.mode, OpenOptions(in.open_flags),
      [context = &context, ticket = request.ticket, open_id, flags = in.flags,
       change = context.directories().Begin(parent->id)](Result<Entry> result) {
        EndChange(*context, change, result.ok() ? result->parent : Attributes());
        AnswerCreated(*context, ticket, open_id, flags, result);
      });
}

void HandleTmpFile(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_create_in in;
  if (!arguments.Take(in)) return AnswerMalformed(context, request, arguments);
  Node* parent = FindNode(context, request);
  if (parent == nullptr) return;
  const OpenId open_id = context.file_system().NewOpenId();
  context.file_system().TmpFile(
      context.CallerOf(request, in.umask), parent->handle, open_id,
      FlagsForServer(context.settings(), in.flags), in.mode,
      [context = &context, ticket = request.ticket, open_id, flags = in.flags](
          Result<Entry> result) { AnswerCreated(*context, ticket, open_id, flags, result); });
}

void HandleRelease(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_release_in in;
  if (!arguments.Take(in)) return AnswerMalformed(context, request, arguments);
  UseOpenFile(context, in.fh);
  const OpenId open_id = context.open_files().Remove(in.fh);
  Node* node = context.nodes().Find(request.header.nodeid);
  if (node != nullptr && request.header.opcode == FUSE_RELEASE) EndUse(*node, in.flags);
  const bool may_have_locks = (in.release_flags & FUSE_RELEASE_FLOCK_UNLOCK) != 0 ||
                              (node != nullptr && node->has_locks.load(std::memory_order_relaxed));
  // Nobody waits for it, so nobody is made to: the answer goes before the server's.
  context.Answer(request.ticket, kOk);
  if (open_id != 0) context.Release(open_id, may_have_locks ? request.header.nodeid : 0);
}

}  // namespace rdmafs::fuse
