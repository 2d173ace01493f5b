// Session: what a client has on this server: its attachments and open files, over all its
// connections.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/attachment.h"
#include "server/limits.h"
#include "server/open_table.h"
#include "transport/base/unique_function.h"

namespace rdmafs::server {

// 128 random bits, so that no one finds another's session.
struct SessionId {
  uint64_t words[2] = {0, 0};
  bool none() const { return words[0] == 0 && words[1] == 0; }
  friend auto operator<=>(const SessionId&, const SessionId&) = default;
};

// Thread-safe; shared by its channels and their calls.
class Session {
 public:
  Session(const SessionId& id, uint64_t number, std::string peer_host)
      : id_(id), number_(number), peer_host_(std::move(peer_host)), opens_(kMaxOpensPerSession) {}

  const SessionId& id() const { return id_; }
  // Its name within this process: for locks, which it owns, and for the log.
  uint64_t number() const { return number_; }
  const std::string& peer_host() const { return peer_host_; }
  OpenTable& opens() { return opens_; }

  // False over the bound. Attaching an export again takes its rules as they are now.
  bool Attach(std::shared_ptr<const Attachment> attachment);
  // nullptr: the session has not attached that export.
  std::shared_ptr<const Attachment> FindAttachment(uint32_t export_id) const;

  // Its connections: `close` may be called from any thread, and begins the end of that one. False
  // after CloseConnections().
  bool AddConnection(uint64_t key, std::function<void()> close);
  // After the connection's last call.
  void RemoveConnection(uint64_t key);
  void CloseConnections();
  // After CloseConnections(): calls `then` when the last call of the last connection is done, at
  // once if it is. Any thread.
  void WhenOver(UniqueFunction<void()> then);

  // Puts `with` in the place of an attachment, unless that was replaced meanwhile.
  void Replace(const std::shared_ptr<const Attachment>& attachment,
               std::shared_ptr<const Attachment> with);
  std::vector<std::shared_ptr<const Attachment>> attachments() const;

 private:
  const SessionId id_;
  const uint64_t number_;
  const std::string peer_host_;
  OpenTable opens_;

  mutable absl::Mutex mutex_;
  std::vector<std::shared_ptr<const Attachment>> attachments_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::pair<uint64_t, std::function<void()>>> connections_ ABSL_GUARDED_BY(mutex_);
  std::vector<UniqueFunction<void()>> waiting_
      ABSL_GUARDED_BY(mutex_);  // as many as there are connections
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace rdmafs::server
