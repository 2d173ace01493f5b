// Session: what a client has on this server: its attachments and open files, and the memory of its
// slots, over all its connections and from one connection to the next.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/attachment.h"
#include "server/authentication.h"
#include "server/limits.h"
#include "server/open_table.h"
#include "server/slot_memory.h"
#include "transport/base/clock.h"
#include "transport/base/unique_function.h"

namespace rdmafs::server {

class Channel;

// 128 random bits, so that no one finds another's session.
struct SessionId {
  uint64_t words[2] = {0, 0};
  bool none() const { return words[0] == 0 && words[1] == 0; }
  friend auto operator<=>(const SessionId&, const SessionId&) = default;
};

// Thread-safe; shared by its channels and their calls.
class Session {
 public:
  // How a client with a key began it: what its other connections are joined with.
  struct KeyProof {
    KeyIdentity key;
    auth::Secret secret;
  };
  Session(const SessionId& id, uint64_t number, std::string peer_host,
          std::optional<KeyProof> proof = std::nullopt, Protection protection = Protection::kNone)
      : id_(id),
        number_(number),
        peer_host_(std::move(peer_host)),
        protection_(protection),
        opens_(kMaxOpensPerSession),
        secret_(proof ? std::optional(proof->secret) : std::nullopt) {
    if (proof) key_ = std::move(proof->key);
  }

  const SessionId& id() const { return id_; }
  // Its name within this process: for locks, which it owns, and for the log.
  uint64_t number() const { return number_; }
  const std::string& peer_host() const { return peer_host_; }
  // Of the connection that it began with. No other one may have less.
  Protection protection() const { return protection_; }
  OpenTable& opens() { return opens_; }
  // Nothing: it was begun without a key, and nobody joins it with one.
  const std::optional<auth::Secret>& secret() const { return secret_; }
  // The one that was proved last.
  std::optional<KeyIdentity> key() const;
  void SetKey(KeyIdentity key);

  // False over the bound. Attaching an export again takes its rules as they are now.
  bool Attach(std::shared_ptr<const Attachment> attachment);
  // nullptr: the session has not attached that export.
  std::shared_ptr<const Attachment> FindAttachment(uint32_t export_id) const;
  // Puts `with` in the place of an attachment, unless that was replaced meanwhile.
  void Replace(const std::shared_ptr<const Attachment>& attachment,
               std::shared_ptr<const Attachment> with);
  std::vector<std::shared_ptr<const Attachment>> attachments() const;

  // --- Its connections, by the numbers that the client gave them ---
  struct Member {
    uint16_t number = 0;
    uint32_t epoch = 0;  // the client's count of its attempts
    const Channel* key = nullptr;
    std::function<void()> close;  // any thread; begins the end of that connection
  };
  enum class Joined {
    kYes,         // `slots` is the number's memory of slots
    kLater,       // an older connection of the number is being closed: `again` is called when it is
    kSuperseded,  // the client has begun a later attempt
    kOver,        // the session ends
  };
  Joined Join(const Member& member, SlotMemory& slots, UniqueFunction<void()> again);
  // The connection is closed; its calls may go on. How it was with the session when it left.
  struct Left {
    bool last = false;        // it has no other connection
    uint64_t idle_epoch = 0;  // see BeginEndIfIdle()
    bool keep = false;  // the client may come back: it has attached, and did not end the session
  };
  Left Leave(const Channel* key, uint16_t number, SlotMemory slots);
  // After the connection's last call.
  void RemoveMember(const Channel* key);
  void CloseConnections();

  // --- Its end ---
  // The client wants it to end with its connections, and no other one to join.
  void SayFarewell();
  // True once, for whoever is to release what the session has; nobody joins any more.
  bool BeginEnd();
  // The same, if it has had no connection since Leave() gave `idle_epoch`.
  bool BeginEndIfIdle(uint64_t idle_epoch);
  // Calls `then` when the last call of the last connection is done, at once if it is. Any thread.
  void WhenOver(UniqueFunction<void()> then);
  // Ended, and the last call is done.
  bool over() const;
  bool idle() const;

 private:
  struct Place {
    uint32_t epoch = 0;
    const Channel* holder = nullptr;              // open
    SlotMemory slots;                             // while nobody holds the place
    std::vector<UniqueFunction<void()>> waiting;  // hellos, as many as there are connections
  };

  const SessionId id_;
  const uint64_t number_;
  const std::string peer_host_;
  const Protection protection_;
  OpenTable opens_;
  const std::optional<auth::Secret> secret_;

  mutable absl::Mutex mutex_;
  std::optional<KeyIdentity> key_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<const Attachment>> attachments_ ABSL_GUARDED_BY(mutex_);
  std::map<uint16_t, Place> places_ ABSL_GUARDED_BY(mutex_);
  std::vector<Member> members_ ABSL_GUARDED_BY(mutex_);  // open, or with calls under way
  size_t open_count_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t idle_epoch_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<UniqueFunction<void()>> waiting_
      ABSL_GUARDED_BY(mutex_);  // for the end; as many as there are connections
  bool farewell_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace rdmafs::server
