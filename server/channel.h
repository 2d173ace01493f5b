// Channel: the server's side of one connection: admits its calls, and answers them.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/handshake_limit.h"
#include "server/session.h"
#include "server/slot_memory.h"
#include "transport/connection.h"

namespace rdmafs::server {

class Call;
class Shard;

// Owned by one shard thread. Lives until its connection has closed and its last call is done: a
// call that comes back from a worker or the disk finds it, and whether it is still open.
class Channel final : public ConnectionHandler {
 public:
  // Not started: see Start(). Begins with one reference, which OnClosed drops.
  Channel(Shard& shard, uint64_t number, std::unique_ptr<Connection> connection);
  ~Channel() override;
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  void Start();

  // Whether it may still be sent to.
  bool open() const { return open_; }
  // Its own among all that the shard ever had.
  uint64_t number() const { return number_; }
  Connection& connection() { return *connection_; }
  const std::string& peer() const { return peer_; }
  // The address in it, without a port.
  const std::string& peer_host() const { return peer_host_; }

  const std::shared_ptr<Session>& session() const { return session_; }
  // Gives the peer kHelloTimeout from now, and ends that when a hello came.
  void AwaitHello();
  void HelloCame();
  // The hello says that this is the session's connection `number`. kYes: it is, with the memory of
  // its slots from the one before. kLater: see Session::Join().
  Session::Joined Enter(std::shared_ptr<Session> session, uint16_t number, uint32_t epoch,
                        UniqueFunction<void()> again);
  // Its place among those who are proving who they are: the one that its handshake of TLS has, or a
  // new one; nothing when there is none.
  std::optional<HandshakeLimit::Ticket> TakePlace();
  void GiveBackPlace() { place_.reset(); }
  // What it has of a handshake with a key; nullptr before one, and when it belongs to a session.
  std::unique_ptr<Authentication> authentication;
  // It was refused: nothing that it says counts any more, and it is closed when the answer had time
  // to arrive.
  void CloseSoon();
  // The hello was answered with an error; how often that happened.
  int CountFailedHello() { return ++failed_hellos_; }

  // The peer broke the protocol: a line in the log, and the end.
  void Breach(std::string_view reason);
  void Close(absl::Status reason);

  // Answers `call` (if that is still possible) and gives it back to the shard. May be the last
  // reference: the caller touches neither afterwards.
  void Finish(Call& call);
  // What the next process will know of the slot's calls; nullptr: nothing.
  RecallRecord* RecordOf(uint32_t slot);
  uint16_t number_in_session() const { return number_in_session_; }
  // The call under way in `slot`, or nullptr.
  Call* FindCall(uint32_t slot, uint32_t sequence);
  // The client does not ask for that call's answer any more. EBUSY while it still runs.
  Errno Retire(uint32_t slot, uint32_t sequence);

  void OnHandshake(Connection& connection) override;
  void OnMessage(Connection& connection, ReceivedMessage message) override;
  void OnClosed(Connection& connection, const absl::Status& reason) override;

 private:
  const char* FindHelloFault(wire::Opcode opcode) const;
  const char* FindHeaderFault(const wire::MessageHeader& header);
  Slot* FindSlot(uint32_t number);
  void CancelWait(const Slot& slot);
  void Serve(Call& call);
  void ServeReplay(Slot& slot, Call& call);
  static void ServeAfterPredecessor(Call& call);
  void PostAnswer(Call& call);
  void RecordEnd(Call& call);
  void LeaveSlots();
  void LeaveSession(const absl::Status& reason);
  void Reference() { ++references_; }
  void Unreference();

  Shard& shard_;
  const uint64_t number_;
  const std::unique_ptr<Connection> connection_;
  const std::string peer_;
  const std::string peer_host_;

  std::shared_ptr<Session> session_;
  uint16_t number_in_session_ = 0;
  SlotMemory slots_;  // the session's, once this has left
  Slot set_up_slot_;
  // Calls that go on after that.
  std::vector<std::pair<const Call*, std::shared_ptr<LateCall>>> late_;
  EventLoop::TimerId hello_timer_ = 0;
  std::optional<HandshakeLimit::Ticket> place_;  // of a handshake of TLS, until the first message
  int references_ = 1;
  int failed_hellos_ = 0;
  bool open_ = true;
  bool refused_ = false;
  bool left_ = false;  // the connection has closed
};

// What protects the connection, once its first message has come. Any thread.
Protection ProtectionOf(const Connection& connection);

// "10.0.0.1:20490" or "[::1]:20490" in its parts; port 0 when there is none.
Exports::Peer PeerOf(std::string_view text);

}  // namespace rdmafs::server
