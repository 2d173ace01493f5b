// AskControlSocket against a real ControlSocket, and against listeners that misbehave.
#include "ctl/control_client.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstdlib>
#include <fstream>
#include <thread>

#include "transport/control/control_socket.h"

namespace rdmafs {
namespace {

class ControlClientTest : public testing::Test {
 protected:
  ControlClientTest() {
    char name[] = "/tmp/rdmafs-ctl.XXXXXX";
    directory_ = ::mkdtemp(name);
  }
  ~ControlClientTest() override {
    ::unlink((directory_ + "/rdmafs.1").c_str());
    ::unlink((directory_ + "/rdmafs.2").c_str());
    ::unlink((directory_ + "/file").c_str());
    ::rmdir(directory_.c_str());
  }

  // Listens, but never accepts.
  UniqueFd Deaf(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(fd.get(), 1), 0);
    return fd;
  }

  std::string directory_;
};

TEST_F(ControlClientTest, GetsTheWholeAnswerOfARunningProgram) {
  MonotonicClock clock;
  EventLoop loop(clock);
  const std::string long_answer(1 << 20, 'x');
  auto control = ControlSocket::Listen(
      loop, directory_ + "/rdmafs.1",
      [&](std::string_view command) { return std::string(command) + long_answer; });
  ASSERT_TRUE(control.ok()) << control.status();
  std::thread program([&] { loop.Run(); });
  const auto answer = AskControlSocket(directory_ + "/rdmafs.1", "stats", 30 * kSecond);
  loop.Stop();
  program.join();
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(*answer, "stats" + long_answer + "\n");
}

TEST_F(ControlClientTest, AProgramThatDoesNotAnswerIsGivenUpInTime) {
  UniqueFd deaf = Deaf(directory_ + "/rdmafs.1");
  const auto answer = AskControlSocket(directory_ + "/rdmafs.1", "status", 20 * kMillisecond);
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(ControlClientTest, ASocketThatNobodyListensOnIsNotFound) {
  Deaf(directory_ + "/rdmafs.1");
  std::ofstream(directory_ + "/file");
  for (const char* name : {"/rdmafs.1", "/none", "/file"}) {
    EXPECT_EQ(AskControlSocket(directory_ + name, "status", kSecond).status().code(),
              absl::StatusCode::kNotFound);
  }
}

TEST_F(ControlClientTest, FindsSocketsOnlyInTheOrderOfTheirNames) {
  UniqueFd second = Deaf(directory_ + "/rdmafs.2"), first = Deaf(directory_ + "/rdmafs.1");
  std::ofstream(directory_ + "/file");
  EXPECT_EQ(FindControlSockets({directory_ + "/missing", directory_}),
            (std::vector<std::string>{directory_ + "/rdmafs.1", directory_ + "/rdmafs.2"}));
}

}  // namespace
}  // namespace rdmafs
