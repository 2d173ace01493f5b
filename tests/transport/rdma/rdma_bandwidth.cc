// Bandwidth of pushes and pulls through the rdma transport, to compare with ib_write_bw and
// ib_read_bw. rdma_bandwidth [push|pull|echo] [seconds] [depth] [bytes] [busy poll, microseconds]:
// a server's and a client's thread. Polling is what perftest's programs do.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include "tests/transport/rdma/test_address.h"
#include "transport/rdma/rdma_transport.h"

namespace rdmafs {
namespace {

struct Side {
  static BufferPool::Options MessageOptions() {
    BufferPool::Options options;
    options.payload_bytes = 8192;
    options.headroom_bytes = options.tailroom_bytes = 0;
    options.slab_bytes = size_t{2} << 20;
    return options;
  }
  Side()
      : messages(arena, MessageOptions()),
        blocks(arena, {}),
        transport(TransportResources{arena, messages, clock}) {}
  MonotonicClock clock;
  Arena arena;
  BufferPool messages, blocks;
  RdmaTransport transport;
};

class Server final : public ConnectionHandler {
 public:
  explicit Server(Nanoseconds busy_poll) : loop(side.clock, {.busy_poll = busy_poll}) {}
  void OnMessage(Connection& from, ReceivedMessage message) override {
    const wire::MessageHeader header = message.header();
    Buffer& block = blocks_[header.slot];
    if (!block) block = side.blocks.Take();
    Outgoing reply;
    reply.header = header;
    reply.header.flags = wire::kFlagReply;
    if ((header.flags & wire::kFlagSource) != 0) {
      const auto destination = block.payload().first(header.remote_size);
      from.Pull(message, destination, block, [&from, header](Result<Connection::Pulled> pulled) {
        if (!pulled.ok()) return;
        Outgoing done;
        done.header = header;
        done.header.flags = wire::kFlagReply;
        (void)from.Post(std::move(done));
      });
      return;
    }
    if ((header.flags & wire::kFlagSink) != 0) {
      reply.hold = block;
      reply.push = reply.hold.payload().first(header.remote_size);
      reply.request_header = &header;
    }
    message.Drop();
    (void)from.Post(std::move(reply));
  }
  void OnClosed(Connection&, const absl::Status&) override { loop.Stop(); }

  Side side;
  EventLoop loop;
  std::unique_ptr<Connection> connection;

 private:
  std::array<Buffer, wire::kMaxCredits> blocks_;  // one for each slot
};

class Client final : public ConnectionHandler {
 public:
  Client(uint16_t flags, size_t size, Nanoseconds busy_poll)
      : loop(side.clock, {.busy_poll = busy_poll}), flags_(flags), size_(size) {}
  void Call(Connection& connection, uint16_t slot) {
    Outgoing call;
    call.header.opcode = 1;
    call.header.slot = slot;
    call.header.flags = flags_;
    if (flags_ != 0) {
      if (!blocks_[slot]) blocks_[slot] = side.blocks.Take();
      call.hold = blocks_[slot];
      call.exposed = call.hold.payload().first(size_);
    }
    const Errno error = connection.Post(std::move(call));
    if (!error.ok()) std::printf("post: %s\n", error.ToString().c_str());
  }
  void OnMessage(Connection& connection, ReceivedMessage message) override {
    const uint16_t slot = message.header().slot;
    message.Drop();
    ++count;
    Call(connection, slot);
  }
  void OnClosed(Connection&, const absl::Status& reason) override {
    closed = true;
    if (!absl::IsCancelled(reason)) std::printf("closed: %s\n", reason.ToString().c_str());
  }

  Side side;
  EventLoop loop;
  uint64_t count = 0;
  bool closed = false;

 private:
  const uint16_t flags_;
  const size_t size_;
  std::array<Buffer, wire::kMaxCredits> blocks_;
};

int Run(const std::string& what, double seconds, uint16_t depth, size_t size,
        Nanoseconds busy_poll) {
  const uint16_t flags = what == "push" ? wire::kFlagSink : what == "pull" ? wire::kFlagSource : 0;
  Server server(busy_poll);
  auto listener =
      server.side.transport.Listen({TestAddress(), 0}, {}, server.loop, [&](auto accepted) {
        server.connection = std::move(accepted);
        server.connection->Start(server.loop, server);
      });
  if (!listener.ok()) return std::printf("%s\n", listener.status().ToString().c_str()), 1;
  const uint16_t port = (*listener)->port();
  std::thread thread([&] { server.loop.Run(); });
  Client client(flags, size, busy_poll);
  auto connection = client.side.transport.Connect({TestAddress(), port}, {});
  if (!connection.ok())
    return std::printf("%s\n", connection.status().ToString().c_str()), std::exit(1), 1;
  (*connection)->Start(client.loop, client);
  for (uint16_t slot = 0; slot < depth; ++slot) client.Call(**connection, slot);
  // The first round registers the server's blocks.
  while (client.count < 2u * depth && !client.closed) client.loop.RunOnce(kMillisecond * 100);
  client.count = 0;
  const Nanoseconds begin = client.side.clock.Now();
  const Nanoseconds deadline = begin + static_cast<Nanoseconds>(seconds * kSecond);
  while (client.side.clock.Now() < deadline && !client.closed)
    client.loop.RunOnce(kMillisecond * 100);
  const double elapsed = static_cast<double>(client.side.clock.Now() - begin) / kSecond;
  std::printf("%s %zu bytes, depth %u: %.1f MB/s, %.0f calls/s\n", what.c_str(), size, depth,
              static_cast<double>(client.count * size) / elapsed / 1048576,
              static_cast<double>(client.count) / elapsed);
  (*connection)->Close(absl::CancelledError("done"));
  while (!client.closed) client.loop.RunOnce(kSecond);
  thread.join();
  return 0;
}

}  // namespace
}  // namespace rdmafs

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "push";
  const double seconds = argc > 2 ? std::atof(argv[2]) : 3;
  const int depth = argc > 3 ? std::atoi(argv[3]) : 8;
  const int size = argc > 4 ? std::atoi(argv[4]) : 1 << 20;
  const int busy_poll_us = argc > 5 ? std::atoi(argv[5]) : 0;
  return rdmafs::Run(what, seconds, static_cast<uint16_t>(depth), static_cast<size_t>(size),
                     busy_poll_us * rdmafs::kMicrosecond);
}
