// TrialPair: two QPs of one device, connected with each other within this process.
#pragma once

#include <array>
#include <cstddef>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "transport/base/clock.h"
#include "transport/rdma/cm_event.h"
#include "transport/rdma/verbs_handles.h"

namespace rdmafs::rdma {

// kOwner has memory, and connects; kPeer tries to reach it. Owned by one thread.
class TrialPair {
 public:
  enum Side { kOwner = 0, kPeer = 1 };
  enum class Room { kAll, kOwnersOnly };  // who can receive messages from the start
  static constexpr size_t kMessageBytes = 16;

  // On the device and the address of `id`, over rdma_cm, so that it is the device which carries
  // what is posted, whatever its kind. Gives up at `deadline`.
  static absl::StatusOr<std::unique_ptr<TrialPair>> Make(rdma_cm_id& id, ibv_pd& domain, Room room,
                                                         const Clock& clock, Nanoseconds deadline);
  ~TrialPair();

  // Posts `first` and what follows it, of which the last must have a signal.
  absl::Status Submit(Side side, ibv_send_wr& first);
  // Waits until that last one has completed, or one of them failed: the completion says which. A
  // status when neither came before `deadline`.
  absl::StatusOr<ibv_wc> Completed(Side side, Nanoseconds deadline);
  // The one after the other, in the time that there is for all.
  absl::StatusOr<ibv_wc> Post(Side side, ibv_send_wr& first);
  // Room for messages, where there was none; a message that was refused comes soon then.
  absl::Status PostReceives(Side side);
  // The next message that `side` received; or its failure.
  absl::StatusOr<ibv_wc> Receive(Side side);
  // A SEND with a signal, out of memory of its own.
  ibv_send_wr Message(Side side, ibv_sge& sge) const;
  // Before what is bound to them is taken away: neither answers any more.
  void Halt();

 private:
  static constexpr uint32_t kReceives = 8;
  static constexpr uint64_t kReceiveId = ~uint64_t{0};
  struct End {
    CmIdPtr id;
    CqPtr cq;
    RegionPtr region;
    std::array<std::byte, kMessageBytes*(kReceives + 1)> memory{};
  };

  TrialPair(ibv_pd& domain, Room room, const Clock& clock, Nanoseconds deadline)
      : domain_(domain), room_(room), clock_(clock), deadline_(deadline) {}
  absl::Status Connect(rdma_cm_id& id);
  absl::Status Listen(rdma_cm_id& id);
  absl::Status OnEvent(const CmEvent& event);
  absl::Status OnRequest(const CmEvent& event);
  absl::Status MakeQueues(End& end);
  void HastenRetries(Side side);
  absl::StatusOr<ibv_wc> Await(Side side, bool receive, Nanoseconds deadline);
  absl::Status Failed(const char* what) const;

  ibv_pd& domain_;
  const Room room_;
  const Clock& clock_;
  const Nanoseconds deadline_;
  uint64_t nonce_ = 0;  // tells our own request to connect from a stranger's
  int established_count_ = 0;
  EventChannelPtr channel_;
  CmIdPtr listener_;
  std::array<End, 2> ends_;
};

}  // namespace rdmafs::rdma
