// Reads that wait in a shard's io_uring: what the kernel has worked off, and what it says about
// that.
#include <fcntl.h>
#include <liburing.h>
#include <sys/mman.h>

#include <atomic>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/server/server_fixture.h"

namespace rdmafs::server {
namespace {

struct Pipe {
  Pipe() { CHECK(pipe2(ends, O_CLOEXEC) == 0); }
  ~Pipe() {
    close(ends[0]);
    close(ends[1]);
  }
  void Put(int count) const {
    const std::string bytes(static_cast<size_t>(count), 'x');
    CHECK(write(ends[1], bytes.data(), bytes.size()) == count);
  }
  void TakeAway(int count) const {
    char bytes[256];
    CHECK(read(ends[0], bytes, static_cast<size_t>(count)) == count);
  }
  int ends[2];
};

// Reads a byte of one of two pipes per call; an empty one makes it wait in the ring. Where there is
// no ring, a worker waits.
class IoRingTest : public ServerFixture {
 protected:
  static constexpr wire::OpenId kFirst = 5, kSecond = 6;

  void SetUp() override {
    ServerFixture::SetUp();
    client_ = Connect();
    root_ = client_->Enter();
    store_->no_wait_would_wait = true;
    OpenPipe(first_, "first", kFirst);
    OpenPipe(second_, "second", kSecond);
  }
  void TearDown() override { client_.reset(); }

  void OpenPipe(const Pipe& pipe, const std::string& name, wire::OpenId id) {
    store_->descriptor = pipe.ends[0];
    store_->Put(name, "x");
    ASSERT_EQ(client_->Open(client_->Lookup(root_, name), id, O_RDWR), kOk);
  }
  void Send(wire::OpenId id, int begin, int end) {
    for (int slot = begin; slot < end; ++slot) {
      client_->Send(wire::ReadRequest{id, 0, 1}, static_cast<uint16_t>(slot));
    }
  }
  void Expect(int begin, int end) {
    for (int slot = begin; slot < end; ++slot) {
      EXPECT_EQ(client_->Wait(static_cast<uint16_t>(slot)).inline_payload, "x");
    }
  }
  // What was sent before `slot`'s answer has been begun.
  void Ping(uint16_t slot) { ASSERT_EQ(client_->Ask(wire::PingRequest{}, {}, slot).status(), kOk); }

  const Pipe first_, second_;
  std::unique_ptr<RawClient> client_;
  wire::FileHandle root_;
};

// One system call works off so many of a ring's completions, and no more. Where those have to wait
// again, nothing else says that there are others.
TEST_F(IoRingTest, ReadsThatCanEndAreNotForgottenBehindThoseThatCannot) {
  constexpr int kBarren = 45, kAll = 60;
  Send(kFirst, 0, kBarren);
  Send(kSecond, kBarren, kAll);
  Ping(kAll);
  store_->no_wait_would_wait = false;
  store_->shard_gate.Close();
  Send(kFirst, kAll, kAll + 1);
  // All the others wait in the ring, and their shard does nothing.
  store_->shard_gate.AwaitWaiting(1);
  first_.Put(kBarren);
  second_.Put(kAll - kBarren);
  first_.TakeAway(kBarren);
  store_->shard_gate.Open();
  Expect(kBarren, kAll);
  first_.Put(kBarren);
  Expect(0, kBarren);
  Expect(kAll, kAll + 1);
}

// Sets, in every ring of this process and all the time, the flag by which the kernel says that
// something is to be worked off. The kernel sets it after it has made that known, so that it can be
// left over.
class RingsThatSeemToHaveMore {
 public:
  RingsThatSeemToHaveMore() {
    io_uring probe{};
    io_uring_params parameters{};
    if (io_uring_queue_init_params(1, &probe, &parameters) != 0) return;
    io_uring_queue_exit(&probe);
    const size_t at = parameters.sq_off.flags;
    for (int fd = 0; fd < 1024; ++fd) {
      char name[64] = "";
      if (readlink(absl::StrCat("/proc/self/fd/", fd).c_str(), name, sizeof name - 1) < 0) continue;
      if (std::string_view(name) != "anon_inode:[io_uring]") continue;
      void* mapped = mmap(nullptr, kMappedBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                          IORING_OFF_SQ_RING);
      CHECK(mapped != MAP_FAILED);
      rings_.push_back(static_cast<std::byte*>(mapped));
    }
    thread_ = std::thread([this, at] {
      while (!stop_) {
        for (std::byte* ring : rings_) {
          std::atomic_ref(*reinterpret_cast<uint32_t*>(ring + at)) |= IORING_SQ_TASKRUN;
        }
        begun_.store(true);
      }
    });
    while (!begun_) std::this_thread::yield();
  }
  ~RingsThatSeemToHaveMore() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    for (std::byte* ring : rings_) munmap(ring, kMappedBytes);
  }
  size_t count() const { return rings_.size(); }

 private:
  static constexpr size_t kMappedBytes = 4096;
  std::vector<std::byte*> rings_;  // mappings of their own
  std::atomic<bool> begun_{false}, stop_{false};
  std::thread thread_;
};

TEST_F(IoRingTest, AShardGoesOnWhereItsRingSeemsToHaveMore) {
  Send(kFirst, 0, 1);
  Send(kSecond, 1, 2);
  Ping(2);
  {
    const RingsThatSeemToHaveMore rings;
    ASSERT_EQ(rings.count() != 0, IoRing::FindObstacle().empty());
    second_.Put(1);
    Expect(1, 2);
  }
  first_.Put(1);
  Expect(0, 1);
}

}  // namespace
}  // namespace rdmafs::server
