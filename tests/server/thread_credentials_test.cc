// ThreadCredentials: ids, groups, umask and capabilities of one thread, and of no other.
#include "server/thread_credentials.h"

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <sstream>
#include <thread>

namespace rdmafs {
namespace {

using SetIdBits = ThreadCredentials::SetIdBits;

// A field of this thread's status in /proc.
std::string Field(const std::string& name) {
  std::ifstream status("/proc/thread-self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(name + ":", 0) != 0) continue;
    std::istringstream words(line.substr(name.size() + 1));
    std::string text;
    for (std::string word; words >> word;) text += (text.empty() ? "" : " ") + word;
    return text;
  }
  return "";
}
uint64_t Effective() { return std::stoull(Field("CapEff"), nullptr, 16); }
bool Has(int capability) { return (Effective() >> capability & 1) != 0; }

// On a thread of its own, so that no test sees another's leftovers.
template <typename Body>
void OnFreshThread(Body body) {
  std::thread(body).join();
}

TEST(ThreadCredentials, AnIdentityIsTakenByOneThreadOnly) {
  ASSERT_EQ(geteuid(), 0u);
  const std::string before = Field("Uid");
  OnFreshThread([] {
    const uint32_t groups[] = {30, 20};
    ASSERT_TRUE(ThreadCredentials::OfThisThread().Assume({1001, 1002, 0027, groups}).ok());
    EXPECT_EQ(Field("Uid"), "0 0 0 1001");
    EXPECT_EQ(Field("Gid"), "0 0 0 1002");
    EXPECT_EQ(Field("Groups"), "20 30");
    EXPECT_EQ(Field("Umask"), "0027");
  });
  EXPECT_EQ(Field("Uid"), before);
}

TEST(ThreadCredentials, UsersHaveNoCapabilityThatAFileSystemAsksFor) {
  OnFreshThread([] {
    ASSERT_TRUE(ThreadCredentials::OfThisThread().Assume({1001, 1001, 0, {}}).ok());
    EXPECT_EQ(Effective(), uint64_t{1} << CAP_SETUID | uint64_t{1} << CAP_SETGID);
  });
}

TEST(ThreadCredentials, RootHasWhatTheServerHas) {
  const uint64_t server = Effective();
  OnFreshThread([server] {
    ThreadCredentials& thread = ThreadCredentials::OfThisThread();
    ASSERT_TRUE(thread.Assume({1001, 1001, 0, {}}).ok());
    ASSERT_TRUE(thread.Assume({0, 0, 0, {}}).ok());
    EXPECT_EQ(Effective(), server);
    EXPECT_EQ(Field("Uid"), "0 0 0 0");
    ASSERT_TRUE(thread.Assume({0, 0, 0, {}}, SetIdBits::kClear).ok());
    EXPECT_EQ(Effective(), server & ~(uint64_t{1} << CAP_FSETID));
    ASSERT_TRUE(thread.Assume({1001, 1001, 0, {}}, SetIdBits::kKeep).ok());
    EXPECT_TRUE(Has(CAP_FSETID));
    EXPECT_FALSE(Has(CAP_DAC_OVERRIDE));
  });
}

TEST(ThreadCredentials, AUserCanBeFollowedByAnyOther) {
  OnFreshThread([] {
    ThreadCredentials& thread = ThreadCredentials::OfThisThread();
    for (uint32_t id : {1001u, 1002u, 0u, 1003u, 65534u, 1001u}) {
      ASSERT_TRUE(thread.Assume({id, id, 0, {}}).ok()) << id;
      const std::string text = std::to_string(id);
      EXPECT_EQ(Field("Uid"), "0 0 0 " + text);
      EXPECT_EQ(Field("Gid"), "0 0 0 " + text);
      EXPECT_EQ(Has(CAP_DAC_OVERRIDE), id == 0);
    }
    ASSERT_TRUE(thread.Restore().ok());
    EXPECT_EQ(Field("Umask"), "0022");
    EXPECT_TRUE(Has(CAP_DAC_OVERRIDE));
  });
}

TEST(ThreadCredentials, TheKernelsFixUpMakesNoDifference) {
  OnFreshThread([] {
    ASSERT_EQ(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP), 0);
    ThreadCredentials& thread = ThreadCredentials::OfThisThread();
    ASSERT_TRUE(thread.Assume({0, 0, 0, {}}).ok());
    ASSERT_TRUE(thread.Assume({1001, 1001, 0, {}}).ok());
    EXPECT_FALSE(Has(CAP_DAC_OVERRIDE));
    EXPECT_FALSE(Has(CAP_SYS_ADMIN));
    ASSERT_TRUE(thread.Assume({0, 0, 0, {}}).ok());
    EXPECT_TRUE(Has(CAP_DAC_OVERRIDE));
    EXPECT_TRUE(Has(CAP_SYS_ADMIN));
  });
}

TEST(ThreadCredentials, AnIdThatIsNoneIsRefused) {
  OnFreshThread([] {
    ThreadCredentials& thread = ThreadCredentials::OfThisThread();
    EXPECT_EQ(thread.Assume({~0u, 1, 0, {}}), Errno(EPERM));
    EXPECT_EQ(thread.Assume({1, ~0u, 0, {}}), Errno(EPERM));
  });
}

TEST(ThreadCredentials, DataWritersAreNotExemptFromQuota) {
  OnFreshThread([] {
    ASSERT_TRUE(ThreadCredentials::OfThisThread().AssumeDataWriter().ok());
    EXPECT_EQ(Field("Uid"), "0 0 0 65534");
    EXPECT_FALSE(Has(CAP_SYS_RESOURCE));
    EXPECT_TRUE(Has(CAP_FSETID));
  });
}

TEST(ThreadCredentials, ScopesEndAsTheyBegan) {
  OnFreshThread([] {
    ThreadCredentials& thread = ThreadCredentials::OfThisThread();
    const uint32_t groups[] = {20};
    ASSERT_TRUE(thread.Assume({1001, 1001, 0077, groups}).ok());
    const uint64_t before = Effective();
    {
      ThreadCredentials::ReadSearchScope may_search;
      EXPECT_TRUE(Has(CAP_DAC_READ_SEARCH));
      EXPECT_FALSE(Has(CAP_DAC_OVERRIDE));
    }
    EXPECT_EQ(Effective(), before);
    {
      ThreadCredentials::ServerScope as_server;
      EXPECT_EQ(Field("Uid"), "0 0 0 0");
      EXPECT_TRUE(Has(CAP_SYS_ADMIN));
    }
    EXPECT_EQ(Effective(), before);
    EXPECT_EQ(Field("Uid"), "0 0 0 1001");
    EXPECT_EQ(Field("Groups"), "20");
  });
}

}  // namespace
}  // namespace rdmafs
