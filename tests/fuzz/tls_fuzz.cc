// Fuzz target: TLS with a hostile peer, a hostile network, or both. A real peer goes through the
// handshake with our end, as server or as client, and a man in the middle does with its records
// what the input says: changes, drops, repeats, splits or makes up some, or an extension of a
// hello. In TLS the peer then says whatever the input says.
//
// Whatever happens: our end opens only to a peer that has the key or the certificate for it, gives
// out only what that peer has sent, in its order, says once that it has ended, and keeps nothing.
//
// An input: our side, the peer's, flags, the name of the peer's key, and then a row of steps.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "tests/fuzz/tls_ends.h"
#include "tests/fuzz/tls_hello.h"
#include "tests/fuzz/tls_sides.h"
#include "transport/base/check.h"

namespace rdmafs {
namespace {

// Of an input.
constexpr uint8_t kLetsNobodyIn = 1;
constexpr uint8_t kFewRecords = 2;   // go under one key of ours
constexpr uint8_t kSmallBuffer = 4;  // our socket takes less than a record at a time

constexpr int kMaxSteps = 100;
constexpr int kMaxTurns = 2000;
constexpr size_t kRecordHeader = 5;

class Input {
 public:
  explicit Input(absl::Span<const uint8_t> bytes) : bytes_(bytes) {}

  bool empty() const { return bytes_.empty(); }
  uint8_t Byte() {
    if (bytes_.empty()) return 0;
    const uint8_t byte = bytes_.front();
    bytes_.remove_prefix(1);
    return byte;
  }
  size_t Number() {
    const size_t low = Byte();
    return low | size_t{Byte()} << 8;
  }
  // A number, and as many bytes, as far as there are any.
  std::string Text() {
    const size_t size = std::min(Number(), bytes_.size());
    std::string text(reinterpret_cast<const char*>(bytes_.data()), size);
    bytes_.remove_prefix(size);
    return text;
  }

 private:
  absl::Span<const uint8_t> bytes_;
};

// Bytes on their way to one end: an end's socket, and what it has no room for yet.
class Way {
 public:
  explicit Way(UniqueFd socket) : socket_(std::move(socket)) {}

  void Push(std::string_view bytes) { waiting_ += bytes; }
  void End() { ends_ = true; }
  bool Flush() {
    bool moved = false;
    while (!waiting_.empty()) {
      const ssize_t sent =
          send(socket_.get(), waiting_.data(), waiting_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0 && errno == EAGAIN) return moved;
      // An end that is closed hears nothing.
      waiting_.erase(0, sent < 0 ? std::string::npos : static_cast<size_t>(sent));
      moved = true;
    }
    if (ends_) shutdown(socket_.get(), SHUT_WR);
    return moved;
  }
  // What the end has said.
  std::string Take() {
    const ssize_t got = recv(socket_.get(), space_.data(), space_.size(), MSG_DONTWAIT);
    return std::string(space_.data(), got > 0 ? static_cast<size_t>(got) : 0);
  }

 private:
  const UniqueFd socket_;
  std::string waiting_;
  bool ends_ = false;
  static inline std::vector<char> space_ = std::vector<char>(65536);
};

// `send_buffer_bytes`: of the second, 0: as it comes.
std::pair<UniqueFd, UniqueFd> SocketPair(int send_buffer_bytes) {
  int fds[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
  if (send_buffer_bytes != 0) {
    CHECK(setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &send_buffer_bytes, sizeof send_buffer_bytes) ==
          0);
  }
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

std::string Record(uint8_t type, const std::string& body) {
  std::string record = {static_cast<char>(type), 3, 3, static_cast<char>(body.size() >> 8),
                        static_cast<char>(body.size())};
  return record + body;
}

class Scene {
 public:
  Scene(const TlsSides& sides, OurSide ours, PeerSide peer, uint8_t flags, const std::string& name)
      : Scene(sides, ours, peer, flags, name, SocketPair((flags & kSmallBuffer) != 0 ? 1 : 0),
              SocketPair(0)) {}

  void Run(Input input) {
    Settle();
    for (int step = 0; step < kMaxSteps && !input.empty(); ++step) Step(input);
    peer_alone_ = false;
    Settle();
    to_ours_.Push(std::exchange(from_peer_, {}));
    peer_.End();
    Settle();
    to_ours_.Push(std::exchange(from_peer_, {}));
    to_ours_.End();
    Settle();
    CHECK(ours_.closed());
    CHECK(!ours_.opened() || may_open_);
  }

 private:
  using Sockets = std::pair<UniqueFd, UniqueFd>;

  Scene(const TlsSides& sides, OurSide ours, PeerSide peer, uint8_t flags, const std::string& name,
        Sockets left, Sockets right)
      : may_open_(TlsSides::MayOpen(ours, peer, name)),
        to_ours_(std::move(left.first)),
        to_peer_(std::move(right.first)),
        peer_(std::move(right.second), sides.Peers(peer, !IsServer(ours), name)),
        ours_(std::move(left.second), sides.Ours(ours), peer_.sent(), loop_,
              {.is_server = IsServer(ours),
               .lets_nobody_in = (flags & kLetsNobodyIn) != 0,
               .records_per_key = (flags & kFewRecords) != 0 ? 2 : TlsStream::kRecordsPerKey}) {}

  // Everybody does what there is to do, but for the peer's records, which wait.
  void Settle() {
    for (int turn = 0; Turn(); ++turn) CHECK(turn < kMaxTurns);
  }
  bool Turn() {
    bool moved = to_ours_.Flush();
    loop_.RunOnce(0);
    const std::string of_ours = to_ours_.Take();
    to_peer_.Push(of_ours);
    moved |= to_peer_.Flush() || !of_ours.empty();
    peer_.Advance();
    const std::string of_peer = to_peer_.Take();
    from_peer_ += of_peer;
    return moved || !of_peer.empty();
  }

  // The peer's next record, or what there is of it.
  std::string NextRecord() {
    size_t size = from_peer_.size();
    if (size >= kRecordHeader) {
      const auto byte = [&](size_t i) { return static_cast<uint8_t>(from_peer_[i]); };
      size = std::min(size, kRecordHeader + (size_t{byte(3)} << 8 | byte(4)));
    }
    std::string record = from_peer_.substr(0, size);
    from_peer_.erase(0, size);
    return record;
  }

  void Step(Input& input);
  void Forward(std::string record, uint8_t kind, Input& input);

  EventLoop loop_{clock_};
  const bool may_open_;
  std::string from_peer_;
  bool peer_alone_ = false;  // nothing of the peer goes on
  Way to_ours_, to_peer_;
  PeerEnd peer_;
  OurEnd ours_;

  static inline const MonotonicClock clock_;
};

// A record of the peer's.
enum Kind : uint8_t { kPass, kFlip, kTruncate, kDrop, kTwice, kHeader, kSplit, kExtension,
                      kRaw, kRecord, kEnd, kSay, kUpdateKey, kPeerEnds, kSilence, kKinds };

void Scene::Step(Input& input) {
  const auto kind = static_cast<Kind>(input.Byte() % kKinds);
  switch (kind) {
    case kRaw: to_ours_.Push(input.Text()); break;
    case kRecord: {
      const uint8_t type = input.Byte();
      to_ours_.Push(Record(type, input.Text()));
      break;
    }
    case kEnd: to_ours_.End(); break;
    case kSay: peer_.Send(input.Text()); break;
    case kUpdateKey: peer_.UpdateKey(input.Byte() % 2 != 0); break;
    case kPeerEnds: peer_.End(); break;
    case kSilence: peer_alone_ = true; break;
    default: Forward(NextRecord(), kind, input);
  }
  if (peer_alone_) from_peer_.clear();
  Settle();
}

void Scene::Forward(std::string record, uint8_t kind, Input& input) {
  if (kind == kDrop || record.empty()) return;
  if (kind == kFlip) {
    const size_t at = input.Number() % record.size();
    record[at] = static_cast<char>(record[at] ^ (input.Byte() | 1));
  } else if (kind == kTruncate) {
    record.resize(input.Number() % record.size());
  } else if (kind == kTwice) {
    record += record;
  } else if (kind == kHeader) {
    for (size_t i = 0; i < std::min(kRecordHeader, record.size()); ++i)
      record[i] = static_cast<char>(input.Byte());
  } else if (kind == kSplit) {
    const size_t at = input.Number() % record.size();
    to_ours_.Push(std::string_view(record).substr(0, at));
    Settle();
    record.erase(0, at);
  } else if (kind == kExtension) {
    const auto type = static_cast<uint16_t>(input.Number());
    record = WithExtension(record, type, input.Text());
  }
  to_ours_.Push(record);
}

}  // namespace
}  // namespace rdmafs

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rdmafs;
  static const TlsSides sides;
  Input input(absl::MakeConstSpan(data, size));
  const auto ours = static_cast<OurSide>(input.Byte() % kOurSides);
  const auto peer = static_cast<PeerSide>(input.Byte() % kPeerSides);
  const uint8_t flags = input.Byte();
  const std::string name = input.Text();
  Scene(sides, ours, peer, flags, name).Run(input);
  return 0;
}
