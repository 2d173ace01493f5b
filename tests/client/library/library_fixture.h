// LibraryTest: the functions of <rdmafs/rdmafs.h> over a server of this process, which serves a
// fresh directory: on TCP, on the loopback transport (where the rules are those of verbs), and on a
// real device.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>

#include "client/library/api.h"
#include "server/posix_store.h"
#include "server/server.h"
#include "tests/server/counting_random.h"
#include "tests/server/memory_store.h"
#include "tests/transport/rdma/test_address.h"
#include "transport/loopback/loopback_transport.h"
#include "transport/rdma/rdma_transport.h"
#include "transport/tcp/tcp_transport.h"

namespace rdmafs::library {

class LibraryTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    directory_ = testing::TempDir() + "/rdmafs-library-XXXXXX";
    ASSERT_NE(::mkdtemp(directory_.data()), nullptr);
    PosixStoreOptions store;
    store.path = directory_;
    store.export_id = 7;
    store.key = {1, 2, 3};
    store.clock = &clock_;
    auto opened = PosixStore::Open(store);
    ASSERT_TRUE(opened.ok()) << opened.status();
    exports_ = std::make_unique<server::OneExport>(*std::move(opened));
    exports_->squash.root = false;  // the tests may be root's
    server_ = std::make_unique<server::Server>(
        clock_, messages_, blocks_, *exports_,
        server::CountingRandom(),
        server::ServerOptions{.shard_count = 2, .worker_count = 8});
    transport_ = Make({arena_, messages_, clock_});
    auto listener = transport_->Listen({Host(), 0}, {}, accept_loop_, [this](auto connection) {
      server_->Accept(std::move(connection));
    });
    ASSERT_TRUE(listener.ok()) << listener.status();
    listener_ = *std::move(listener);
    server_->Start();
    accepting_ = std::thread([this] { accept_loop_.Run(); });
    rdmafs_options_init(&options_);
    options_.pool_bytes = uint64_t{8} << 20;
    options_.threads = 2;
    fs_ = Connect();
    ASSERT_NE(fs_, nullptr);
  }
  void TearDown() override {
    if (fs_ != nullptr) {
      EXPECT_EQ(rdmafs_disconnect(fs_), 0) << "something stayed open";
    }
    if (server_ == nullptr) return;
    accept_loop_.Stop();
    accepting_.join();
    listener_.reset();
    EXPECT_TRUE(server_->Stop(20 * kSecond));
    server_.reset();
    std::filesystem::remove_all(directory_);
  }

  rdmafs_fs* Connect() {
    options_.port = listener_->port();
    options_.transport = name() == "rdma" ? "rdma" : "auto";
    int error = 0;
    std::string why;
    rdmafs_fs* fs = ConnectWith(
        (Host() + ":/export").c_str(), &options_,
        [this](TransportChoice, const TransportResources& resources, TlsSource) {
          if (name() == "rdma") return Transports{nullptr, Make(resources)};
          return Transports{Make(resources), nullptr};
        },
        &error, &why);
    EXPECT_NE(fs, nullptr) << why;
    return fs;
  }
  std::unique_ptr<Transport> Make(const TransportResources& resources) {
    if (name() == "tcp") return std::make_unique<TcpTransport>(resources);
    if (name() == "rdma") return std::make_unique<RdmaTransport>(resources);
    return std::make_unique<LoopbackTransport>(hub_, resources);
  }
  static std::string_view name() { return GetParam(); }
  static std::string Host() { return name() == "rdma" ? TestAddress() : "127.0.0.1"; }
  static bool registers() { return name() != "tcp"; }

  static std::string Pattern(size_t size, unsigned seed = 1) {
    std::string text(size, 0);
    uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
    for (char& c : text) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      c = static_cast<char>(state >> 56);
    }
    return text;
  }
  void Put(const std::string& name, const std::string& content) {
    std::ofstream(directory_ + "/" + name, std::ios::binary) << content;
  }
  std::string Get(const std::string& name) {
    std::ifstream file(directory_ + "/" + name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  rdmafs_file* Open(const std::string& name, int flags = O_RDWR) {
    rdmafs_file* file = nullptr;
    EXPECT_EQ(rdmafs_open(fs_, name.c_str(), flags, 0644, &file, nullptr), 0) << name;
    return file;
  }
  rdmafs_statistics Statistics() {
    rdmafs_statistics statistics;
    rdmafs_get_statistics(fs_, &statistics, sizeof statistics);
    return statistics;
  }

  const MonotonicClock clock_{};
  std::string directory_;
  Arena arena_;
  BufferPool messages_{arena_, {.payload_bytes = 8192, .headroom_bytes = 0, .tailroom_bytes = 0}};
  BufferPool blocks_{arena_, {.cap_bytes = size_t{16} << 20}};
  const std::shared_ptr<LoopbackHub> hub_ = std::make_shared<LoopbackHub>();
  std::unique_ptr<server::OneExport> exports_;
  std::unique_ptr<server::Server> server_;
  std::unique_ptr<Transport> transport_;
  EventLoop accept_loop_{clock_};
  std::unique_ptr<Listener> listener_;
  std::thread accepting_;
  rdmafs_options options_;
  rdmafs_fs* fs_ = nullptr;
};

}  // namespace rdmafs::library
