// Context: what a shard's handlers work with, and how they answer.
#pragma once

#include <functional>
#include <type_traits>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "client/file_system.h"
#include "fuse/caller.h"
#include "fuse/channel.h"
#include "fuse/directory_attributes.h"
#include "fuse/lock_releases.h"
#include "fuse/lock_waits.h"
#include "fuse/node_table.h"
#include "fuse/open_files.h"
#include "fuse/page_reads.h"
#include "fuse/settings.h"
#include "transport/base/event_loop.h"
#include "transport/control/operation_statistics.h"

namespace rdmafs::fuse {

template <typename T>
absl::Span<const std::byte> BytesOf(const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  return {reinterpret_cast<const std::byte*>(&value), sizeof value};
}

// Owned by one shard thread; outlives the replies that its FileSystem still owes. The tables are
// shared by all shards.
class Context {
 public:
  struct Parts {
    EventLoop& loop;
    Channel& channel;
    FileSystem& file_system;
    NodeTable& nodes;
    OpenFiles& open_files;
    DirectoryAttributes& directories;
    LockWaits& lock_waits;
    LockReleases& lock_releases;
    PageReads& page_reads;
    const Settings& settings;
    OperationStatistics& statistics;
    size_t shard;
    // The kernel's caller of that request does not want to wait any more.
    std::function<void(uint64_t unique)>& interrupt;
    // Runs a task on this shard's thread when every shard has handled what it had taken from the
    // kernel.
    std::function<void(EventLoop::Task)>& after_all_shards;
    // Has the kernel drop the pages of a file, and then runs a task on this shard's thread.
    std::function<void(uint64_t node_id, EventLoop::Task)>& drop_pages;
    // Whether operations wait, without end (`hard`), for a server that is not there.
    std::function<bool()>& server_is_lost;
  };
  explicit Context(const Parts& parts) : parts_(parts) {}

  EventLoop& loop() { return parts_.loop; }
  Channel& channel() { return parts_.channel; }
  FileSystem& file_system() { return parts_.file_system; }
  NodeTable& nodes() { return parts_.nodes; }
  OpenFiles& open_files() { return parts_.open_files; }
  DirectoryAttributes& directories() { return parts_.directories; }
  LockWaits& lock_waits() { return parts_.lock_waits; }
  LockReleases& lock_releases() { return parts_.lock_releases; }
  PageReads& page_reads() { return parts_.page_reads; }
  const Settings& settings() const { return parts_.settings; }
  size_t shard() const { return parts_.shard; }
  void Interrupt(uint64_t unique) { parts_.interrupt(unique); }
  void DropPages(uint64_t node_id, EventLoop::Task then) {
    parts_.drop_pages(node_id, std::move(then));
  }
  bool server_is_lost() const { return parts_.server_is_lost(); }

  // On whose behalf `request` comes, with his groups: a view that stands until the next call.
  Caller CallerOf(const Request& request, uint32_t umask = 0) {
    return groups_.Find(request.header, umask, request.ticket.start);
  }

  // Answers a request, and counts it. False when the kernel did not take the answer: what it would
  // have remembered by it (a lookup, an open file) has to be undone.
  bool Answer(const Ticket& ticket, Errno error, absl::Span<const std::byte> head = {},
              absl::Span<const std::byte> data = {});
  void Answer(const Ticket& ticket, const Result<Unit>& result) { Answer(ticket, result.error()); }
  // The same for what was read: from memory, or from the pipe that it is in.
  bool Answer(const Ticket& ticket, const Payload& payload);
  bool takes_pipes() const { return parts_.channel.takes_pipes(); }
  // Tells the server that an open file is not needed any more; nobody waits for its answer.
  // `locked_node`: the node of a file that may hold locks; 0: it holds none.
  void Release(OpenId open_id, uint64_t locked_node = 0);
  // Runs `then` when the server has released every file of that node that was closed before this
  // call, and says whether `ended_count` has become another number meanwhile.
  void AfterLockReleases(uint64_t node_id, uint64_t ended_count, std::function<void(bool)> then);
  // The same for all that is still open.
  void ReleaseAll();
  // Releases, and waits for releases, that have not ended.
  size_t releases_in_flight() const { return releases_in_flight_; }

  // Answers a request of this shard's with EINTR, whatever becomes of its operation: for a caller
  // that was interrupted while the server is away. Nothing happens when it is not one of this
  // shard's.
  void GiveUp(uint64_t unique);

  // A question about the root, which is answered from what was seen last when the server is lost
  // meanwhile.
  void AddRootQuestion(const Ticket& ticket) { root_questions_[ticket.unique] = ticket; }
  // Those that have no answer yet.
  std::vector<Ticket> TakeRootQuestions();
  // Answers while the operation is under way; what comes of it is dropped.
  void AnswerEarly(const Ticket& ticket, absl::Span<const std::byte> head);

  // A FLUSH that has something to tell waits for the server. Its caller may be at his end, when the
  // kernel passes no signal on.
  void AddFlush(const Ticket& ticket, uint32_t tid) {
    flushes_[ticket.unique] = {tid, ticket.start};
  }
  // Takes those for interrupted who have waited for longer than kInterruptPatience, and want to
  // leave without the kernel having said so.
  void LookForLostInterrupts();
  static constexpr Nanoseconds kInterruptPatience = kSecond;

  // For requests that have no answer, and to count those that were answered by hand.
  void Count(const Ticket& ticket, Errno error);

 private:
  // `reply` is how it goes to the kernel.
  bool AnswerBy(const Ticket& ticket, Errno error, absl::FunctionRef<Errno()> reply);

  const Parts parts_;
  GroupCache groups_;
  size_t releases_in_flight_ = 0;
  struct Flush {
    uint32_t tid;
    Nanoseconds since;
  };
  absl::flat_hash_map<uint64_t, Flush> flushes_;  // by unique
  absl::flat_hash_map<uint64_t, Ticket> root_questions_;  // by unique
  // What those were answered whose operations are still under way; by unique.
  absl::flat_hash_map<uint64_t, Errno> answered_early_;
};

}  // namespace rdmafs::fuse
