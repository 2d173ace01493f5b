#include "fuse/attributes.h"

#include <sys/stat.h>

namespace rdmafs::fuse {
namespace {

struct Timeout {
  uint64_t seconds;
  uint32_t nanoseconds;
};

Timeout Split(Nanoseconds timeout) {
  return {static_cast<uint64_t>(timeout / kSecond), static_cast<uint32_t>(timeout % kSecond)};
}

void RememberTold(Context& context, Node& node, const Attributes& attributes, Nanoseconds asked) {
  if (S_ISDIR(attributes.mode)) context.directories().Forget(node.id);
  node.mode_told.store(attributes.mode, std::memory_order_relaxed);
  absl::MutexLock lock(&node.mutex);
  node.cache.OnAttributes(FileStamp::Of(attributes));
  const uint32_t flags = asked > node.xattrs_changed ? attributes.flags : 0;
  const Nanoseconds until = asked + context.settings().attr_timeout;
  node.plain_until = (flags & wire::kPlain) != 0 ? until : 0;
  node.plain_to_root_until = (flags & wire::kPlainToRoot) != 0 ? until : 0;
}

}  // namespace

fuse_attr ToKernel(const Attributes& attributes) {
  fuse_attr out{};
  out.ino = attributes.ino;
  out.size = attributes.size;
  out.blocks = attributes.blocks;
  out.atime = static_cast<uint64_t>(attributes.atime_s);
  out.mtime = static_cast<uint64_t>(attributes.mtime_s);
  out.ctime = static_cast<uint64_t>(attributes.ctime_s);
  out.atimensec = attributes.atime_ns;
  out.mtimensec = attributes.mtime_ns;
  out.ctimensec = attributes.ctime_ns;
  out.mode = attributes.mode;
  out.nlink = attributes.nlink;
  out.uid = attributes.uid;
  out.gid = attributes.gid;
  out.rdev = EncodeDevice(attributes.rdev_major, attributes.rdev_minor);
  out.blksize = attributes.blksize;
  return out;
}

fuse_attr_out AttributesAnswer(Context& context, Node& node, const Attributes& attributes,
                               Nanoseconds asked) {
  return AttributesAnswer(context, node, attributes, asked, context.settings().attr_timeout);
}

fuse_attr_out AttributesAnswer(Context& context, Node& node, const Attributes& attributes,
                               Nanoseconds asked, Nanoseconds timeout) {
  RememberTold(context, node, attributes, asked);
  if (node.id == NodeTable::kRootId) context.nodes().SeeRoot(attributes);
  const Timeout valid = Split(timeout);
  fuse_attr_out out{};
  out.attr_valid = valid.seconds;
  out.attr_valid_nsec = valid.nanoseconds;
  out.attr = ToKernel(attributes);
  return out;
}

std::optional<EntryAnswer> MakeEntryAnswer(Context& context, const Entry& entry,
                                           Nanoseconds asked) {
  auto found = context.nodes().Remember(entry.handle);
  if (!found) return std::nullopt;
  RememberTold(context, *found->node, entry.attributes, asked);
  const Timeout entry_valid = Split(context.settings().entry_timeout);
  const Timeout attr_valid = Split(context.settings().attr_timeout);
  EntryAnswer answer{found->node, {}};
  answer.out.nodeid = found->node->id;
  answer.out.generation = found->generation;
  answer.out.entry_valid = entry_valid.seconds;
  answer.out.entry_valid_nsec = entry_valid.nanoseconds;
  answer.out.attr_valid = attr_valid.seconds;
  answer.out.attr_valid_nsec = attr_valid.nanoseconds;
  answer.out.attr = ToKernel(entry.attributes);
  return answer;
}

void EndChange(Context& context, const DirectoryAttributes::Change& change,
               const Attributes& directory, bool others) {
  const Nanoseconds until = context.loop().clock().Now() + context.settings().attr_timeout;
  context.directories().End(change, directory, until, others);
}

void SeeXattrsChanged(Context& context, Node& node) {
  absl::MutexLock lock(&node.mutex);
  node.xattrs_changed = context.loop().clock().Now();
  node.plain_until = node.plain_to_root_until = 0;
}

bool IsPlain(Node& node, Nanoseconds asked, bool to_root) {
  absl::MutexLock lock(&node.mutex);
  return asked < node.plain_until && (!to_root || asked < node.plain_to_root_until);
}

void InvalidateAttributes(Context& context, const Node& node) {
  fuse_notify_inval_inode_out out{};
  out.ino = node.id;
  out.off = -1;
  (void)context.channel().Notify(FUSE_NOTIFY_INVAL_INODE, BytesOf(out));
}

void InvalidateClearedMode(Context& context, uint64_t node_id) {
  Node* node = context.nodes().Find(node_id);
  if (node == nullptr ||
      (node->mode_told.load(std::memory_order_relaxed) & (S_ISUID | S_ISGID)) == 0)
    return;
  node->mode_told.store(0, std::memory_order_relaxed);
  InvalidateAttributes(context, *node);
}

void ForgetLookups(Context& context, uint64_t node_id, uint64_t count) {
  if (auto handle = context.nodes().Forget(node_id, count)) context.file_system().Forget(*handle);
}

void AnswerEntry(Context& context, const Ticket& ticket, const Result<Entry>& result) {
  if (!result.ok()) {
    context.Answer(ticket, result.error());
    return;
  }
  auto entry = MakeEntryAnswer(context, *result, ticket.start);
  if (!entry) {
    context.Answer(ticket, Errno(ENOMEM));
    return;
  }
  if (!context.Answer(ticket, kOk, BytesOf(entry->out)))
    ForgetLookups(context, entry->out.nodeid, 1);
}

}  // namespace rdmafs::fuse
