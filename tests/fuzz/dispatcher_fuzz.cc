// Fuzz target: a client that says anything to the dispatcher, with a store in memory behind it.
//
// The input is a run of messages: flags, opcode, slot, memory, remote size (u16), body size (u16),
// inline size (u16), and then the bytes of body and inline payload. The transport's own check of
// the header has been passed (FakeConnection asks it); everything behind that is the input's.
#include <fcntl.h>

#include <cstring>

#include "server/grace_period.h"
#include "server/server_context.h"
#include "server/shard.h"
#include "tests/server/fake_connection.h"
#include "tests/server/memory_store.h"
#include "transport/base/log.h"

namespace rdmafs::server {
namespace {

enum InputFlags : uint8_t {
  kWrongSequence = 1 << 0,  // else it is the slot's next
  kPause = 1 << 1,          // the server does what it can before the next message
  kBigMemory = 1 << 2,      // remote size in units of 16 bytes
  kSetUp = 1 << 3,          // in the set-up slot
  kClose = 1 << 4,          // the connection is lost after it
};

struct InputMessage {
  uint8_t flags, opcode, slot, memory;
  uint16_t remote_size, body_size, inline_size;
};
static_assert(sizeof(InputMessage) == 10);

constexpr BufferPool::Options kMessages = {.payload_bytes = 8192,
                                           .headroom_bytes = 0,
                                           .tailroom_bytes = 0,
                                           .cap_bytes = size_t{2} << 20,
                                           .slab_bytes = size_t{2} << 20};
// Two blocks: calls have to wait for one.
constexpr BufferPool::Options kBlocks = {.cap_bytes = size_t{2} << 20,
                                         .slab_bytes = size_t{2} << 20};

// Memory and what else lives as long as the process.
struct Surroundings {
  MonotonicClock clock;
  Arena arena;
  BufferPool messages{arena, kMessages};
  BufferPool blocks{arena, kBlocks};
};

// One server, new for every input, so that an input does the same each time.
class OneServer {
 public:
  explicit OneServer(Surroundings& surroundings) : surroundings_(surroundings) {
    store_->Put("f", std::string(10000, 'f'));
    auto connection = std::make_unique<FakeConnection>(record_);
    connection_ = connection.get();
    shard_.Adopt(std::move(connection));
    Settle();
  }

  ~OneServer() {
    if (!record_.destroyed) connection_->Close(absl::CancelledError("end of the input"));
    Settle(2 * wire::kMaxCredits);  // calls that wait for one another end in as many rounds
    CHECK(record_.destroyed && record_.messages_kept == 0);
    CHECK(shard_.connection_count() == 0 && sessions_.count() == 0);
    CHECK(locks_.held_count() == 0 && locks_.waiting_count() == 0);
    CHECK(store_->open_count == 0);
    CHECK(surroundings_.blocks.statistics().used_count == 0);
    CHECK(surroundings_.messages.statistics().used_count == 0);
  }

  void Begin() {
    wire::HelloRequest hello;
    hello.fixed = {wire::kMagic, wire::kVersion, 0, wire::kMaxPayloadBytes, 0, {0, 0}};
    Say(hello, "");
    Say(wire::AttachRequest{}, "/export");
  }

  void Say(const InputMessage& input, absl::Span<const std::byte> body,
           absl::Span<const std::byte> inline_payload) {
    if (record_.closing) return;
    wire::MessageHeader header{};
    header.opcode = input.opcode;
    header.slot = (input.flags & kSetUp) != 0 ? wire::kSetUpSlot : input.slot;
    header.sequence = sequences_[header.slot % wire::kMaxCredits] + 1;
    if ((input.flags & kWrongSequence) != 0) header.sequence += input.slot;
    header.flags = static_cast<uint16_t>((input.memory & 3) << 1);
    header.remote_size = input.remote_size * ((input.flags & kBigMemory) != 0 ? 16u : 1u);
    connection_->head_bytes = input.memory >> 2;
    if (connection_->Receive(header, body, inline_payload)) {
      sequences_[header.slot % wire::kMaxCredits] = header.sequence;
    }
    if ((input.flags & kPause) != 0) Settle();
    if ((input.flags & kClose) != 0 && !record_.destroyed) {
      connection_->Close(absl::UnavailableError("lost"));
    }
  }

 private:
  template <typename Message>
  void Say(const Message& message, std::string_view inline_text) {
    std::byte space[wire::kMaxBodyBytes];
    const InputMessage input{.flags = kPause | kSetUp,
                             .opcode = static_cast<uint8_t>(Message::kOpcode)};
    Say(input, wire::Encode(message, absl::MakeSpan(space)),
        absl::MakeConstSpan(reinterpret_cast<const std::byte*>(inline_text.data()),
                            inline_text.size()));
  }

  // Until nothing has gone on by itself for so many rounds.
  void Settle(int rounds = 4) {
    for (int idle = 0; idle < rounds; ++idle) {
      if (workers_.RunQueued()) idle = 0;
      shard_.loop().RunOnce(0);
    }
  }

  Surroundings& surroundings_;
  std::shared_ptr<MemoryStore> store_ = std::make_shared<MemoryStore>();
  OneExport exports_{store_};
  WorkerPool workers_{0, nullptr};
  SessionTable sessions_{[](absl::Span<std::byte> bytes) { bytes[0] = std::byte{1}; }};
  LockTable locks_;
  BreachLog breaches_{surroundings_.clock};
  GracePeriod grace_{{}, nullptr};
  AppendLocks append_locks_;
  const ServerContext context_{surroundings_.clock,
                               surroundings_.messages,
                               surroundings_.blocks,
                               workers_,
                               sessions_,
                               locks_,
                               exports_,
                               breaches_,
                               grace_,
                               append_locks_};
  FakeConnection::Record record_;
  FakeConnection* connection_ = nullptr;
  uint32_t sequences_[wire::kMaxCredits] = {};
  Shard shard_{context_, Shard::Options{.use_io_uring = false}};
};

}  // namespace
}  // namespace rdmafs::server

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rdmafs::server;
  static Surroundings* surroundings = [] {
    rdmafs::OpenLog("dispatcher_fuzz", rdmafs::LogTarget::kStandardError,
                    static_cast<rdmafs::LogLevel>(0));
    return new Surroundings;
  }();
  OneServer server(*surroundings);
  // An odd length speaks before the hello.
  if (size % 2 == 0) server.Begin();
  InputMessage input;
  while (size >= sizeof input) {
    std::memcpy(&input, data, sizeof input);
    data += sizeof input;
    size -= sizeof input;
    const size_t body = std::min<size_t>(input.body_size % 2049, size);
    const size_t payload = std::min<size_t>(input.inline_size % 4097, size - body);
    const auto* bytes = reinterpret_cast<const std::byte*>(data);
    server.Say(input, {bytes, body}, {bytes + body, payload});
    data += body + payload;
    size -= body + payload;
  }
  return 0;
}
