// ControlSocket, with clients that behave and clients that do not.
#include "transport/control/control_socket.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "tests/transport/base/manual_clock.h"

namespace rdmafs {
namespace {

class ControlSocketTest : public testing::Test {
 protected:
  ControlSocketTest() {
    char name[] = "/tmp/rdmafs-control.XXXXXX";
    directory_ = ::mkdtemp(name);
    path_ = directory_ + "/socket";
  }
  ~ControlSocketTest() override {
    control_.reset();
    ::unlink(path_.c_str());
    ::rmdir(directory_.c_str());
  }

  absl::Status Listen(ControlSocket::Options options = {}) {
    auto control = ControlSocket::Listen(
        loop_, path_,
        [this](std::string_view command) {
          commands_.emplace_back(command);
          return answer_.empty() ? "{\"command\":\"" + std::string(command) + "\"}" : answer_;
        },
        options);
    if (!control.ok()) return control.status();
    control_ = *std::move(control);
    return absl::OkStatus();
  }

  UniqueFd Connect() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return fd;
  }

  static void Send(const UniqueFd& fd, std::string_view text) {
    // The server may have hung up already: that is what some of the tests are about.
    [[maybe_unused]] ssize_t n =
        ::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }

  // Rounds until the loop has nothing left to do at once.
  void Settle() {
    for (int i = 0; i < 50; ++i) loop_.RunOnce(0);
  }

  // All that came until the end of the stream; "(open)" at its end when there is none.
  static std::string Received(const UniqueFd& fd) {
    std::string all;
    char bytes[4096];
    for (;;) {
      const ssize_t n = ::recv(fd.get(), bytes, sizeof bytes, MSG_DONTWAIT);
      if (n > 0) {
        all.append(bytes, static_cast<size_t>(n));
        continue;
      }
      return n < 0 && errno == EAGAIN ? all + "(open)" : all;
    }
  }

  ManualClock clock_;
  EventLoop loop_{clock_};
  std::string directory_, path_;
  std::string answer_;
  std::vector<std::string> commands_;
  std::unique_ptr<ControlSocket> control_;
};

TEST_F(ControlSocketTest, AnswersALineAndHangsUp) {
  ASSERT_TRUE(Listen().ok());
  UniqueFd client = Connect();
  Send(client, "status\n");
  Settle();
  EXPECT_EQ(Received(client), "{\"command\":\"status\"}\n");
  EXPECT_EQ(control_->client_count(), 0u);
}

TEST_F(ControlSocketTest, AnswersALineThatComesInPieces) {
  ASSERT_TRUE(Listen().ok());
  UniqueFd client = Connect();
  Send(client, "sta");
  Settle();
  EXPECT_EQ(Received(client), "(open)");
  Send(client, "ts\r\n");
  Settle();
  EXPECT_EQ(Received(client), "{\"command\":\"stats\"}\n");
}

TEST_F(ControlSocketTest, ThePathIsForItsOwnerOnly) {
  ASSERT_TRUE(Listen().ok());
  struct stat status;
  ASSERT_EQ(::stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
}

TEST_F(ControlSocketTest, ALineThatIsTooLongIsCutOffUnanswered) {
  ASSERT_TRUE(Listen({.max_request_bytes = 64}).ok());
  UniqueFd client = Connect();
  Send(client, std::string(10000, 'x'));
  Settle();
  EXPECT_EQ(Received(client), "");
  EXPECT_TRUE(commands_.empty());
  EXPECT_EQ(control_->client_count(), 0u);
}

TEST_F(ControlSocketTest, ALineOfTheLargestSizeIsAnswered) {
  ASSERT_TRUE(Listen({.max_request_bytes = 64}).ok());
  UniqueFd fits = Connect(), exceeds = Connect();
  Send(fits, std::string(64, 'x') + "\n");
  Send(exceeds, std::string(65, 'x') + "\n");
  Settle();
  EXPECT_EQ(commands_, std::vector<std::string>{std::string(64, 'x')});
  EXPECT_EQ(Received(exceeds), "");
}

TEST_F(ControlSocketTest, HalfARequestIsCutOffWhenItsTimeIsOver) {
  ASSERT_TRUE(Listen({.patience = kSecond}).ok());
  UniqueFd client = Connect();
  Send(client, "stat");
  Settle();
  clock_.now += kSecond - 1;
  Settle();
  EXPECT_EQ(Received(client), "(open)");
  clock_.now += 1;
  Settle();
  EXPECT_EQ(Received(client), "");
  EXPECT_TRUE(commands_.empty());
}

TEST_F(ControlSocketTest, AClientThatHangsUpWithoutAWordIsForgotten) {
  ASSERT_TRUE(Listen().ok());
  Connect();
  UniqueFd half = Connect();
  Send(half, "sta");
  half.reset();
  Settle();
  EXPECT_EQ(control_->client_count(), 0u);
  EXPECT_TRUE(commands_.empty());
}

TEST_F(ControlSocketTest, ClientsBeyondTheLimitWaitUntilOthersAreDone) {
  ASSERT_TRUE(Listen({.max_clients = 2, .patience = kSecond}).ok());
  UniqueFd first = Connect(), second = Connect(), third = Connect();
  Send(third, "status\n");
  Settle();
  EXPECT_EQ(control_->client_count(), 2u);
  EXPECT_EQ(Received(third), "(open)");
  Send(first, "status\n");
  Settle();
  EXPECT_EQ(Received(third), "{\"command\":\"status\"}\n");
}

TEST_F(ControlSocketTest, SilentClientsCannotKeepOthersOutForEver) {
  ASSERT_TRUE(Listen({.max_clients = 2, .patience = kSecond}).ok());
  UniqueFd first = Connect(), second = Connect(), third = Connect();
  Send(third, "status\n");
  Settle();
  clock_.now += kSecond;
  Settle();
  EXPECT_EQ(Received(third), "{\"command\":\"status\"}\n");
}

TEST_F(ControlSocketTest, ASlowReaderGetsAllOfALongAnswer) {
  ASSERT_TRUE(Listen().ok());
  answer_.assign(4 << 20, 'a');
  UniqueFd client = Connect();
  Send(client, "stats\n");
  std::string all;
  for (int i = 0; i < 10000 && all.find('\n') == std::string::npos; ++i) {
    Settle();
    char bytes[65536];
    const ssize_t n = ::recv(client.get(), bytes, sizeof bytes, MSG_DONTWAIT);
    if (n > 0) all.append(bytes, static_cast<size_t>(n));
  }
  EXPECT_EQ(all.size(), answer_.size() + 1);
}

TEST_F(ControlSocketTest, AReaderThatNeverReadsIsCutOffAndOthersAreServedMeanwhile) {
  ASSERT_TRUE(Listen({.patience = kSecond}).ok());
  answer_.assign(4 << 20, 'a');
  UniqueFd stuck = Connect();
  Send(stuck, "stats\n");
  Settle();
  EXPECT_EQ(control_->client_count(), 1u);
  answer_.clear();
  UniqueFd other = Connect();
  Send(other, "status\n");
  Settle();
  EXPECT_EQ(Received(other), "{\"command\":\"status\"}\n");
  clock_.now += kSecond;
  Settle();
  EXPECT_EQ(control_->client_count(), 0u);
}

TEST_F(ControlSocketTest, AStaleSocketIsReplaced) {
  ASSERT_TRUE(Listen().ok());
  // A copy of the name survives its listener, as after a kill.
  const std::string kept = path_ + ".kept";
  ASSERT_EQ(::link(path_.c_str(), kept.c_str()), 0);
  control_.reset();
  ASSERT_EQ(::rename(kept.c_str(), path_.c_str()), 0);
  ASSERT_TRUE(Listen().ok());
  UniqueFd client = Connect();
  Send(client, "status\n");
  Settle();
  EXPECT_EQ(Received(client), "{\"command\":\"status\"}\n");
}

TEST_F(ControlSocketTest, ASocketInUseIsLeftAlone) {
  ASSERT_TRUE(Listen().ok());
  auto second = ControlSocket::Listen(loop_, path_, [](std::string_view) { return ""; });
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(::access(path_.c_str(), F_OK), 0);
}

TEST_F(ControlSocketTest, AFileThatIsNoSocketIsLeftAlone) {
  std::ofstream(path_) << "precious";
  EXPECT_FALSE(Listen().ok());
  std::string content;
  std::ifstream(path_) >> content;
  EXPECT_EQ(content, "precious");
}

TEST_F(ControlSocketTest, APathThatIsTooLongIsAnError) {
  auto control = ControlSocket::Listen(loop_, "/tmp/" + std::string(200, 'x'),
                                       [](std::string_view) { return ""; });
  EXPECT_EQ(control.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ControlSocketTest, ItsEndRemovesThePathAndCutsClientsOff) {
  ASSERT_TRUE(Listen().ok());
  UniqueFd client = Connect();
  Settle();
  control_.reset();
  EXPECT_NE(::access(path_.c_str(), F_OK), 0);
  EXPECT_EQ(Received(client), "");
  Settle();
}

// A path in the directory that a socket was bound to, and that may be listened on. Removed with it.
class BoundSocket {
 public:
  BoundSocket(const std::string& path, bool listening) : path_(path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    fd_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    listening ? static_cast<void>(::listen(fd_.get(), 1)) : fd_.reset();
  }
  ~BoundSocket() { ::unlink(path_.c_str()); }
  bool exists() const { return ::access(path_.c_str(), F_OK) == 0; }

 private:
  const std::string path_;
  UniqueFd fd_;
};

TEST_F(ControlSocketTest, WhatKilledProgramsOfTheSameNameLeftIsRemoved) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  const std::string gone = std::to_string(child), lives = std::to_string(::getppid());
  path_ = directory_ + "/rdmafs." + std::to_string(::getpid());
  BoundSocket killed(directory_ + "/rdmafs." + gone, false);
  BoundSocket another(directory_ + "/rdmafsd." + gone, false);
  BoundSocket starting(directory_ + "/rdmafs." + lives, false);
  BoundSocket elsewhere(directory_ + "/rdmafs.0" + gone, true);  // in another PID namespace
  BoundSocket unnumbered(directory_ + "/rdmafs." + gone + "x", false);
  ASSERT_TRUE(Listen().ok());
  EXPECT_FALSE(killed.exists());
  EXPECT_TRUE(another.exists());
  EXPECT_TRUE(starting.exists());
  EXPECT_TRUE(elsewhere.exists());
  EXPECT_TRUE(unnumbered.exists());
}

}  // namespace
}  // namespace rdmafs
