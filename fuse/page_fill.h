// Filling the kernel's page cache: a small file's data come with the answer to an open, and the
// kernel has them before it asks.
#pragma once

#include <sys/utsname.h>

#include "fuse/context.h"

namespace rdmafs::fuse {

// Whether a kernel of that name clears what is behind the end of a file in a page that it is given.
// Before it would have shown who maps the file what was there before (Linux commit 3c0da3d163eb).
bool ClearsStoredTails(const utsname& kernel);

// The kernel is going to open the node, with these flags of open(2). Returns the number of this
// use.
uint64_t BeginUse(Node& node, uint32_t flags);
// It did not, or has closed it.
void EndUse(Node& node, uint32_t flags);
// Its size is changed without an open file: before that is sent, and when it is done.
void SeeResize(Node& node);

// How many bytes the open of a file, with these flags of open(2), should bring along: all that it
// is known to have. 0: none, as it is large or in use, or the kernel may keep what it has.
uint32_t BytesToFill(const Settings& settings, Node& node, uint32_t flags);
// Gives the kernel the data that came with the answer to the open `use`. True: it has the whole
// file, and the open is to keep its pages. False when it may not be given: there is not all of it,
// or the kernel may be using the file otherwise, and hold a lock on a page until it is answered.
bool FillPages(Context& context, Node& node, uint64_t use, const Attributes& attributes,
               absl::Span<const std::byte> data);

}  // namespace rdmafs::fuse
