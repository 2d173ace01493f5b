// From the server's attributes and entries to what the kernel wants to be told.
#pragma once

#include <optional>

#include "fuse/context.h"

namespace rdmafs::fuse {

fuse_attr ToKernel(const Attributes& attributes);

// The answer to GETATTR and SETATTR of `node`; remembers what the kernel is told. `asked`: when the
// request came.
fuse_attr_out AttributesAnswer(Context& context, Node& node, const Attributes& attributes,
                               Nanoseconds asked);
// The same where the kernel may believe it for `timeout`.
fuse_attr_out AttributesAnswer(Context& context, Node& node, const Attributes& attributes,
                               Nanoseconds asked, Nanoseconds timeout);

// An entry's node, counted as looked up, and what tells the kernel of it. nullopt: the node table
// is full.
struct EntryAnswer {
  Node* node;
  fuse_entry_out out;
};
std::optional<EntryAnswer> MakeEntryAnswer(Context& context, const Entry& entry, Nanoseconds asked);

// Ends a change of a directory: see DirectoryAttributes::End().
void EndChange(Context& context, const DirectoryAttributes::Change& change,
               const Attributes& directory, bool others = false);

// The node's extended attributes are being changed: what is known of them counts no more. `context`
// says when; before the answer.
void SeeXattrsChanged(Context& context, Node& node);
// Whether a request that came at `asked` may be told that it has none; but perhaps of trusted.*,
// which are shown to root (`to_root`: nor those).
bool IsPlain(Node& node, Nanoseconds asked, bool to_root = false);

// The kernel's cached attributes of the node are not believed any more; its pages are left alone.
void InvalidateAttributes(Context& context, const Node& node);
// Before the answer to a change of a file's data: the kernel takes it that times and size are
// others now, but shows the mode from its cache, where the server may have cleared suid and sgid
// bits.
void InvalidateClearedMode(Context& context, uint64_t node_id);

// Takes back lookups, at the kernel's word or because it never learned of them.
void ForgetLookups(Context& context, uint64_t node_id, uint64_t count);

// Answers a request that found or made an object.
void AnswerEntry(Context& context, const Ticket& ticket, const Result<Entry>& result);

}  // namespace rdmafs::fuse
