// PathWalk: from a path to the object that it names.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "client/file_system.h"

namespace rdmafs::library {

// What a walk found: the object, or where a name that has none would be.
struct Found {
  Entry entry;         // not with kParent
  FileHandle parent;   // kParent, kMake: the directory of the last name
  std::string name;    // kParent, kMake; empty with kMake when the object is there
};

enum class WalkEnd : uint8_t {
  kObject,        // follows the last link
  kObjectNoLink,  // the last name's own object
  kParent,        // the last name is not looked up; EINVAL for one that is ".", ".." or the root
  kMake,          // as kObject, but a last name that does not exist is no error
};

// Looks the path up, component by component, from `root`, which it cannot leave. Destroys itself.
// The reply comes on the shard's thread, sometimes inside Start(). ENOENT for an empty path, ELOOP
// after 40 links, ENAMETOOLONG, and what Lookup and ReadLink say.
class PathWalk {
 public:
  static constexpr int kMaxLinks = 40;

  // `caller` and what it refers to stand until the reply.
  static void Start(FileSystem& file_system, const Caller& caller, const Entry& root,
                    std::string_view path, WalkEnd end, Reply<Found> reply);

 private:
  PathWalk(FileSystem& file_system, const Caller& caller, const Entry& root, WalkEnd end,
           Reply<Found> reply)
      : file_system_(file_system),
        caller_(caller),
        end_(end),
        reply_(std::move(reply)),
        way_{root} {}

  Errno Prepend(std::string_view path);
  void Next();
  void OnEntry(Result<Entry> entry);
  void OnTarget(Result<Payload> target);
  void Finish(Result<Found> found);

  FileSystem& file_system_;
  const Caller& caller_;
  const WalkEnd end_;
  Reply<Found> reply_;
  std::vector<Entry> way_;  // the root first; ".." goes back on it
  std::deque<std::string> names_;
  int link_count_ = 0;
};

}  // namespace rdmafs::library
