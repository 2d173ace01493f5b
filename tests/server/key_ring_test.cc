// The server's keys, and how they change while it runs.
#include "server/key_ring.h"

#include <gmock/gmock.h>

#include "server/handshake_limit.h"
#include "tests/server/key_file.h"

namespace rdmafs::server {
namespace {

using testing::HasSubstr;

TEST(KeyRing, HasTheKeysOfItsFile) {
  KeyFile file;
  file.Write(KeyFile::Line("one", 1) + KeyFile::Line("two", 2, "all_squash,anonuid=7"));
  KeyRing ring(file.path());
  EXPECT_FALSE(ring.loaded());
  EXPECT_FALSE(ring.Find("one"));
  ASSERT_TRUE(ring.Load().ok());
  EXPECT_EQ(ring.count(), 2u);
  ASSERT_TRUE(ring.Find("one"));
  EXPECT_EQ(ring.Find("one")->secret.bytes()[31], 1);
  EXPECT_FALSE(ring.Find("three"));
  EXPECT_TRUE(ring.Has(ring.Find("one")->identity));
}

TEST(KeyRing, PutsAKeysOptionsInThePlaceOfTheExports) {
  KeyFile file;
  file.Write(KeyFile::Line("one", 1) + KeyFile::Line("two", 2, "ro,no_root_squash,anonuid=7"));
  KeyRing ring(file.path());
  ASSERT_TRUE(ring.Load().ok());
  ExportOptions options;
  options.read_only = false;
  ASSERT_TRUE(ring.ApplyOptions("one", options));
  EXPECT_FALSE(options.read_only);
  EXPECT_TRUE(options.squash.root);
  ASSERT_TRUE(ring.ApplyOptions("two", options));
  EXPECT_TRUE(options.read_only);
  EXPECT_FALSE(options.squash.root);
  EXPECT_EQ(options.squash.anonymous_uid, 7u);
  EXPECT_FALSE(ring.ApplyOptions("three", options));
}

TEST(KeyRing, RefusesOptionsThatAKeyCannotHaveAndKeepsWhatItHad) {
  KeyFile file;
  file.Write(KeyFile::Line("one", 1));
  KeyRing ring(file.path());
  ASSERT_TRUE(ring.Load().ok());
  for (const char* options : {"rw", "sec=sys", "crossmnt", "anonuid=x", "nonsense"}) {
    file.Write(KeyFile::Line("two", 2, options));
    EXPECT_THAT(std::string(ring.Load().message()), HasSubstr("key two: option"));
  }
  file.Write("");
  EXPECT_FALSE(ring.Load().ok());
  EXPECT_TRUE(ring.Find("one"));
  EXPECT_FALSE(ring.Find("two"));
}

TEST(KeyRing, SeesAChangeOnceAndOnlyWhenItHasSettled) {
  KeyFile file;
  file.Write(KeyFile::Line("one", 1));
  KeyRing ring(file.path());
  ASSERT_TRUE(ring.Load().ok());
  EXPECT_FALSE(ring.HasChanged());
  file.Write(KeyFile::Line("one", 1) + KeyFile::Line("two", 2));
  EXPECT_FALSE(ring.HasChanged());
  EXPECT_TRUE(ring.HasChanged());
  EXPECT_FALSE(ring.HasChanged());
}

TEST(KeyRing, TellsAnotherSecretOfTheSameNameApart) {
  KeyFile file;
  file.Write(KeyFile::Line("one", 1));
  KeyRing ring(file.path());
  ASSERT_TRUE(ring.Load().ok());
  const KeyIdentity before = ring.Find("one")->identity;
  file.Write(KeyFile::Line("one", 2));
  ASSERT_TRUE(ring.Load().ok());
  EXPECT_FALSE(ring.Has(before));
  EXPECT_TRUE(ring.Has(ring.Find("one")->identity));
}

TEST(HandshakeLimit, GivesSoManyPlacesToAHostAndSoManyToAll) {
  HandshakeLimit limit;
  std::vector<HandshakeLimit::Ticket> tickets;
  for (size_t i = 0; i < kMaxHandshakesPerHost; ++i) {
    auto ticket = limit.Take("10.0.0.1");
    ASSERT_TRUE(ticket);
    tickets.push_back(*std::move(ticket));
  }
  EXPECT_FALSE(limit.Take("10.0.0.1"));
  for (size_t host = 2; limit.count() < kMaxHandshakes; ++host) {
    auto ticket = limit.Take("10.0.0." + std::to_string(host));
    ASSERT_TRUE(ticket);
    tickets.push_back(*std::move(ticket));
  }
  EXPECT_FALSE(limit.Take("10.1.0.1"));
  tickets.pop_back();
  EXPECT_TRUE(limit.Take("10.1.0.1"));
  tickets.clear();
  EXPECT_EQ(limit.count(), 0u);
}

}  // namespace
}  // namespace rdmafs::server
