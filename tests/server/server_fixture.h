// ServerFixture: a server with a MemoryStore, and clients that speak to it over the loopback
// device.
#pragma once

#include <gtest/gtest.h>

#include <csignal>
#include <cstring>
#include <memory>
#include <string>
#include <thread>

#include "server/server.h"
#include "tests/server/counting_random.h"
#include "tests/server/memory_store.h"
#include "tests/server/raw_client.h"
#include "transport/tcp/tcp_transport.h"

namespace rdmafs::server {

class ServerFixture : public testing::Test {
 protected:
  // `tls`: of the server.
  explicit ServerFixture(TlsSource tls = nullptr)
      : serving_({arena_, messages_, clock_}, std::move(tls)) {
    signal(SIGPIPE, SIG_IGN);  // as rdmafsd does: it sends from files
  }
  ~ServerFixture() override { StopServer(); }

  void SetUp() override {
    blocks_ = std::make_unique<BufferPool>(arena_, BufferPool::Options{.cap_bytes = pool_bytes_});
    client_blocks_ = std::make_unique<BufferPool>(arena_, BufferPool::Options{});
    server_ = std::make_unique<Server>(
        clock_, messages_, *blocks_, exports_,
        [this](absl::Span<std::byte> bytes) { random_(bytes); }, options_);
    accept_loop_ = std::make_unique<EventLoop>(clock_);
    auto listener =
        serving_.Listen({"127.0.0.1", 0}, ConnectionOptions{}, *accept_loop_,
                          [this](auto connection) { server_->Accept(std::move(connection)); });
    ASSERT_TRUE(listener.ok()) << listener.status();
    listener_ = std::move(*listener);
    server_->Start();
    accepting_ = std::thread([this] { accept_loop_->Run(); });
  }

  void StopServer() {
    if (server_ == nullptr) return;
    accept_loop_->Stop();
    accepting_.join();
    listener_.reset();
    EXPECT_TRUE(server_->Stop(20 * kSecond));
    server_.reset();
  }

  std::unique_ptr<RawClient> Connect() { return Connect(transport_); }
  std::unique_ptr<RawClient> Connect(Transport& transport) {
    return std::make_unique<RawClient>(transport, messages_, listener_->port());
  }

  // A block with `content` at its start, to be exposed.
  RawClient::Payload Source(const std::string& content) {
    RawClient::Payload payload;
    payload.hold = client_blocks_->Take();
    std::copy(content.begin(), content.end(), reinterpret_cast<char*>(payload.hold.data()));
    payload.exposed = payload.hold.payload().first(content.size());
    return payload;
  }
  RawClient::Payload Sink(size_t size) {
    RawClient::Payload payload;
    payload.hold = client_blocks_->Take();
    payload.exposed = payload.hold.payload().first(size);
    payload.sink = true;
    return payload;
  }

  uint64_t Breaches() { return server_->context().breaches.count(); }

  CountingRandom random_;  // of one server after the other
  MonotonicClock clock_;
  Arena arena_;
  size_t pool_bytes_ = size_t{16} << 20;
  ServerOptions options_{.shard_count = 2, .worker_count = 8};
  BufferPool messages_{arena_, {.payload_bytes = 8192, .headroom_bytes = 0, .tailroom_bytes = 0}};
  std::unique_ptr<BufferPool> blocks_, client_blocks_;
  TcpTransport transport_{{arena_, messages_, clock_}};  // in clear
  TcpTransport serving_;
  std::shared_ptr<MemoryStore> store_ = std::make_shared<MemoryStore>();
  OneExport exports_{store_};
  std::unique_ptr<EventLoop> accept_loop_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Listener> listener_;
  std::thread accepting_;
};

}  // namespace rdmafs::server
