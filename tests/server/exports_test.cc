// Exports: the file's syntax, who is matched by what, and which rule counts.
#include "server/exports.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <map>

namespace rdmafs {
namespace {

using testing::HasSubstr;

class FakeNames final : public HostNames {
 public:
  std::vector<HostAddress> AddressesOf(const std::string& name) override {
    ++questions;
    auto found = addresses.find(name);
    return found == addresses.end() ? std::vector<HostAddress>()
                                    : std::vector{*HostAddress::Parse(found->second)};
  }
  std::vector<std::string> NamesOf(const HostAddress& address) override {
    std::vector<std::string> result;
    for (const auto& [name, text] : names) {
      if (*HostAddress::Parse(text) == address) result.push_back(name);
    }
    return result;
  }
  std::vector<HostAddress> OwnAddresses() override { return {*HostAddress::Parse("192.0.2.1")}; }

  std::map<std::string, std::string> addresses, names;
  int questions = 0;
};

class ExportsTest : public testing::Test {
 protected:
  static Exports Parsed(std::string_view text) {
    auto exports = Exports::Parse(text, "exports");
    EXPECT_TRUE(exports.ok()) << exports.status();
    return exports.ok() ? *std::move(exports) : Exports();
  }
  static std::string ErrorIn(std::string_view text) {
    return std::string(Exports::Parse(text, "exports").status().message());
  }
  int ErrorFor(const Exports& exports, const std::string& host, std::string_view path,
               uint16_t port = 0) {
    return exports.Find({host, port}, path, names_).error().value();
  }
  ExportOptions OptionsFor(const Exports& exports, const std::string& host, std::string_view path) {
    auto match = exports.Find({host, 0}, path, names_);
    EXPECT_TRUE(match.ok()) << match.error().ToString();
    return match.ok() ? *match->options : ExportOptions();
  }
  FakeNames names_;
};

TEST_F(ExportsTest, ALineNamesAPathAndItsClients) {
  const Exports exports = Parsed("/srv/data 10.77.0.0/16(rw) *(ro)\n");
  ASSERT_EQ(exports.all().size(), 1u);
  EXPECT_EQ(exports.all()[0].path, "/srv/data");
  EXPECT_FALSE(OptionsFor(exports, "10.77.3.4", "/srv/data").read_only);
  EXPECT_TRUE(OptionsFor(exports, "10.78.3.4", "/srv/data").read_only);
}

TEST_F(ExportsTest, TheDefaultsAreReadOnlyAndRootSquash) {
  EXPECT_EQ(OptionsFor(Parsed("/a 192.0.2.7"), "192.0.2.7", "/a"), ExportOptions());
  EXPECT_TRUE(ExportOptions().read_only);
  EXPECT_TRUE(ExportOptions().squash.root);
  EXPECT_FALSE(ExportOptions().squash.all);
}

TEST_F(ExportsTest, OptionsAreThoseOfExports5) {
  const ExportOptions options =
      OptionsFor(Parsed("/a "
                        "*(rw,sync,no_root_squash,all_squash,anonuid=1000,anongid=1001,crossmnt,"
                        "fsid=3,sec=sys,insecure,"
                        "no_subtree_check)"),
                 "10.0.0.1", "/a");
  EXPECT_FALSE(options.read_only);
  EXPECT_EQ(options.squash, (SquashRule{false, true, 1000, 1001}));
  EXPECT_TRUE(options.cross_mounts);
  EXPECT_TRUE(options.sync);
  EXPECT_EQ(options.fsid, 3u);
}

TEST_F(ExportsTest, PathsMayBeQuotedOrEscapedAndLinesContinued) {
  const Exports exports = Parsed(
      "# a comment\n"
      "\"/srv/my data\"  *(rw)   # another\n"
      "/srv/your\\040data \\\n   10.0.0.1(rw) \\\r\n   10.0.0.2\n"
      "\n   \t\n"
      "/last *");
  ASSERT_EQ(exports.all().size(), 3u);
  EXPECT_EQ(exports.all()[0].path, "/srv/my data");
  EXPECT_EQ(exports.all()[1].path, "/srv/your data");
  EXPECT_EQ(exports.all()[1].rules.size(), 2u);
  EXPECT_EQ(exports.all()[2].path, "/last");
}

TEST_F(ExportsTest, ABlankBeforeTheOptionsGivesThemToEveryone) {
  const Exports exports = Parsed("/a 10.0.0.1 (rw)");
  EXPECT_TRUE(OptionsFor(exports, "10.0.0.1", "/a").read_only);
  EXPECT_FALSE(OptionsFor(exports, "10.0.0.2", "/a").read_only);
}

TEST_F(ExportsTest, ADashSetsTheDefaultsOfALine) {
  const Exports exports = Parsed("/a -rw,no_root_squash 10.0.0.1 10.0.0.2(ro)\n/b 10.0.0.1");
  EXPECT_FALSE(OptionsFor(exports, "10.0.0.1", "/a").read_only);
  EXPECT_TRUE(OptionsFor(exports, "10.0.0.2", "/a").read_only);
  EXPECT_FALSE(OptionsFor(exports, "10.0.0.2", "/a").squash.root);
  EXPECT_TRUE(OptionsFor(exports, "10.0.0.1", "/b").read_only);
}

TEST_F(ExportsTest, ErrorsNameFileAndLine) {
  EXPECT_EQ(ErrorIn("/a *\n\n/b *(rw,what)\n"), "exports:3: option what: unknown");
  EXPECT_THAT(ErrorIn("a *"), HasSubstr("exports:1: not an absolute path: a"));
  EXPECT_THAT(ErrorIn("/a"), HasSubstr("exported to nobody"));
  EXPECT_THAT(ErrorIn("/a @hosts(rw)"), HasSubstr("netgroups are not supported: @hosts"));
  EXPECT_THAT(ErrorIn("/a 10.0.0.0/33"), HasSubstr("no such network"));
  EXPECT_THAT(ErrorIn("/a 10.0.0.0/255.0.255.0"), HasSubstr("no such network"));
  EXPECT_THAT(ErrorIn("/a 10.0.*.*"), HasSubstr("write addresses as a network"));
  EXPECT_THAT(ErrorIn("/a *(rw"), HasSubstr("a parenthesis is missing"));
  EXPECT_THAT(ErrorIn("\"/a *(rw)"), HasSubstr("a quotation mark is missing"));
  EXPECT_THAT(ErrorIn("/a *(sec=krb5)"), HasSubstr("sys, psk or sys:psk"));
  EXPECT_THAT(ErrorIn("/a *(sec=)"), HasSubstr("sys, psk or sys:psk"));
  EXPECT_THAT(ErrorIn("/a *(sec=psk:)"), HasSubstr("sys, psk or sys:psk"));
  EXPECT_THAT(ErrorIn("/a *(anonuid=-1)"), HasSubstr("not a user or group id"));
  EXPECT_THAT(ErrorIn("/a *(anonuid=4294967295)"), HasSubstr("not a user or group id"));
  EXPECT_THAT(ErrorIn("/a ho$t"), HasSubstr("not a host, address or network"));
  EXPECT_THAT(ErrorIn("/a\\000b *"), HasSubstr("NUL"));
  EXPECT_THAT(ErrorIn("/a 10.0.0.1(crossmnt) 10.0.0.2"),
              HasSubstr("crossmnt and fsid must be the same"));
}

TEST_F(ExportsTest, AnyBytesAreEitherParsedOrRefused) {
  std::string text = "/a \\\n\"b\" *(rw,#)\n/c\\040 10.0.0.0/8(ro)";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    for (char c : {'\0', '"', '\\', '(', '\n', '\xff', '/', '-'}) {
      std::string changed = text.substr(0, cut) + c + text.substr(cut);
      auto exports = Exports::Parse(changed, "exports");
      if (!exports.ok()) {
        EXPECT_THAT(std::string(exports.status().message()), HasSubstr("exports:"));
      }
    }
  }
}

TEST_F(ExportsTest, TheLongestPathCounts) {
  const Exports exports = Parsed("/srv *(ro)\n/srv/data 10.0.0.1(rw)\n/srv/database *(rw)\n");
  auto match = exports.Find({"10.0.0.1", 0}, "/srv/data/a/b", names_);
  ASSERT_TRUE(match.ok());
  EXPECT_EQ(match->exported->path, "/srv/data");
  EXPECT_EQ(match->below, "a/b");
  EXPECT_EQ(ErrorFor(exports, "10.0.0.2", "/srv/data/a"), EACCES)
      << "the shorter one does not help out";
  EXPECT_EQ(exports.Find({"10.0.0.2", 0}, "/srv/database", names_)->exported->path,
            "/srv/database");
  EXPECT_EQ(exports.Find({"10.0.0.2", 0}, "/srv/dat", names_)->below, "dat");
  EXPECT_EQ(ErrorFor(exports, "10.0.0.1", "/sr"), ENOENT);
  EXPECT_EQ(ErrorFor(exports, "10.0.0.1", "srv"), ENOENT);
  EXPECT_EQ(ErrorFor(exports, "10.0.0.1", ""), ENOENT);
}

TEST_F(ExportsTest, PathsAreNormalisedBeforeTheyAreCompared) {
  const Exports exports = Parsed("/srv//data/ *(rw)");
  EXPECT_EQ(exports.Find({"10.0.0.1", 0}, "//srv/./data//x/", names_)->below, "x");
  EXPECT_EQ(exports.Find({"10.0.0.1", 0}, "/srv/other/../data", names_)->below, "");
  EXPECT_EQ(ErrorFor(exports, "10.0.0.1", "/srv/data/../other"), ENOENT);
  EXPECT_EQ(NormalPath("/../..").value(), "/");
}

TEST_F(ExportsTest, TheRootCanBeExported) {
  const Exports exports = Parsed("/ *");
  EXPECT_EQ(exports.Find({"10.0.0.1", 0}, "/", names_)->below, "");
  EXPECT_EQ(exports.Find({"10.0.0.1", 0}, "/etc/x", names_)->below, "etc/x");
}

TEST_F(ExportsTest, TheMostExactRuleCountsWhateverTheOrder) {
  names_.addresses = {{"node7.example.org", "10.1.2.3"}};
  names_.names = {{"node7.example.org", "10.1.2.3"}, {"node8.example.org", "10.9.9.9"}};
  const Exports exports = Parsed(
      "/a *(anonuid=1) *.example.org(anonuid=2) 10.0.0.0/8(anonuid=3) 10.1.0.0/16(anonuid=4) "
      "10.1.2.3(anonuid=5)");
  const auto anonymous = [&](const char* host) {
    return OptionsFor(exports, host, "/a").squash.anonymous_uid;
  };
  EXPECT_EQ(anonymous("192.168.0.1"), 1u);
  EXPECT_EQ(anonymous("10.200.0.1"), 3u);
  EXPECT_EQ(anonymous("10.1.0.1"), 4u);
  EXPECT_EQ(anonymous("10.1.2.3"), 5u);
}

TEST_F(ExportsTest, NamesAreLookedUpAndMustLeadBackToTheAddress) {
  names_.addresses = {{"good.example.org", "10.1.2.3"}, {"node.example.org", "10.1.2.4"}};
  names_.names = {{"node.example.org", "10.1.2.4"},
                  {"liar.example.org", "10.6.6.6"},
                  {"a.b.example.org", "10.1.2.5"}};
  const Exports exports = Parsed("/host good.example.org\n/domain *.EXAMPLE.org");
  EXPECT_EQ(ErrorFor(exports, "10.1.2.3", "/host"), 0);
  EXPECT_EQ(ErrorFor(exports, "10.1.2.4", "/host"), EACCES);
  EXPECT_EQ(ErrorFor(exports, "10.1.2.4", "/domain"), 0);
  EXPECT_EQ(ErrorFor(exports, "10.6.6.6", "/domain"), EACCES);
  EXPECT_EQ(ErrorFor(exports, "10.1.2.5", "/domain"), EACCES) << "a star does not cross a dot";
}

TEST_F(ExportsTest, NetworksOfBothFamiliesMatch) {
  const Exports exports = Parsed("/a fd00:77::/32 10.0.0.0/255.255.0.0 192.0.2.128/25 2001:db8::1");
  for (const char* host : {"fd00:77::1", "fd00:77:ffff::1", "10.0.9.9", "::ffff:10.0.9.9",
                           "192.0.2.200", "2001:db8::1"}) {
    EXPECT_EQ(ErrorFor(exports, host, "/a"), 0) << host;
  }
  for (const char* host :
       {"fd00:78::1", "10.1.0.0", "192.0.2.127", "2001:db8::2", "::a00:909", "nonsense", ""}) {
    EXPECT_EQ(ErrorFor(exports, host, "/a"), EACCES) << host;
  }
}

TEST_F(ExportsTest, SecureAsksForAReservedPort) {
  const Exports exports = Parsed("/a *(secure)");
  EXPECT_EQ(ErrorFor(exports, "10.0.0.1", "/a", 1023), 0);
  EXPECT_EQ(ErrorFor(exports, "10.0.0.1", "/a", 1024), EACCES);
  EXPECT_EQ(ErrorFor(exports, "10.0.0.1", "/a", 0), EACCES);
}

TEST_F(ExportsTest, LinesOfOnePathAreOneExportAndIdsAreStable) {
  const Exports first = Parsed("/a 10.0.0.1\n/b *\n/a 10.0.0.2(rw)");
  const Exports second = Parsed("/b *\n/a *");
  ASSERT_EQ(first.all().size(), 2u);
  EXPECT_EQ(first.all()[0].rules.size(), 2u);
  EXPECT_EQ(first.all()[0].id, second.all()[1].id);
  EXPECT_NE(first.all()[0].id, first.all()[1].id);
  EXPECT_EQ(Parsed("/x *(fsid=5)").all()[0].id, Parsed("/y *(fsid=5)").all()[0].id)
      << "fsid outlives a move";
}

TEST_F(ExportsTest, ADirectoryOfTheCommandLineIsForThisHostAndListedClients) {
  auto exports = Exports::ForDirectories({"/srv/data"}, "", {"10.0.0.0/8"});
  ASSERT_TRUE(exports.ok());
  for (const char* host : {"127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "192.0.2.1"}) {
    EXPECT_FALSE(OptionsFor(*exports, host, "/srv/data").squash.root) << host;
    EXPECT_FALSE(OptionsFor(*exports, host, "/srv/data").read_only) << host;
  }
  EXPECT_TRUE(OptionsFor(*exports, "10.0.0.1", "/srv/data").squash.root);
  EXPECT_EQ(ErrorFor(*exports, "192.0.2.2", "/srv/data"), EACCES);
  auto changed = Exports::ForDirectories({"/a"}, "ro,root_squash", {});
  EXPECT_TRUE(OptionsFor(*changed, "::1", "/a").read_only);
  EXPECT_TRUE(OptionsFor(*changed, "::1", "/a").squash.root);
  EXPECT_FALSE(Exports::ForDirectories({"a"}, "", {}).ok());
  EXPECT_FALSE(Exports::ForDirectories({"/a"}, "what", {}).ok());
  EXPECT_FALSE(Exports::ForDirectories({"/a"}, "", {"@netgroup"}).ok());
}

TEST_F(ExportsTest, AFileThatIsNotThereIsNamed) {
  EXPECT_THAT(std::string(Exports::Load("/nonexistent/exports").status().message()),
              HasSubstr("/nonexistent/exports: ENOENT"));
}

TEST(SystemHostNames, ThisHostHasALoopbackAddress) {
  SystemHostNames names;
  auto own = names.OwnAddresses();
  EXPECT_TRUE(std::any_of(own.begin(), own.end(),
                          [](const HostAddress& address) { return address.is_loopback(); }));
}

// --- sec= ---

TEST_F(ExportsTest, WhoIsKnownByItsAddressAndWhoByAKey) {
  const Exports exports = Parsed("/sys *\n/psk *(sec=psk)\n/both *(sec=sys:psk)\n");
  const auto error = [&](const std::string& key, std::string_view path) {
    return exports.Find({"10.0.0.1", 0, key}, path, names_).error().value();
  };
  EXPECT_EQ(error("", "/sys"), 0);
  EXPECT_EQ(error("", "/psk"), ENOKEY);
  EXPECT_EQ(error("", "/both"), 0);
  EXPECT_EQ(error("k", "/sys"), EOPNOTSUPP);
  EXPECT_EQ(error("k", "/psk"), 0);
  EXPECT_EQ(error("k", "/both"), 0);
}

TEST_F(ExportsTest, AKeyDoesNotReplaceTheAddress) {
  const Exports exports = Parsed("/a 10.0.0.0/8(sec=psk)");
  EXPECT_EQ(exports.Find({"192.0.2.1", 0, "k"}, "/a", names_).error(), Errno(EACCES));
  EXPECT_TRUE(exports.Find({"10.0.0.1", 0, "k"}, "/a", names_).ok());
}

TEST_F(ExportsTest, OfEntriesThatSayEquallyExactlyTheFirstThatFitsCounts) {
  const Exports exports = Parsed("/a 10.0.0.0/8(ro,sec=sys) 10.0.0.0/8(rw,sec=psk)");
  EXPECT_TRUE(exports.Find({"10.0.0.1", 0, ""}, "/a", names_)->options->read_only);
  EXPECT_FALSE(exports.Find({"10.0.0.1", 0, "k"}, "/a", names_)->options->read_only);
}

// Else who leaves its key at home would get what is there for strangers.
TEST_F(ExportsTest, AHostThatHasToShowAKeyIsNotAStrangerWithoutIt) {
  const Exports exports = Parsed("/a *(ro) 10.0.0.1(rw,sec=psk)");
  EXPECT_EQ(exports.Find({"10.0.0.1", 0, ""}, "/a", names_).error(), Errno(ENOKEY));
  EXPECT_TRUE(exports.Find({"10.0.0.2", 0, ""}, "/a", names_).ok());
}

// --- xprtsec= ---

TEST_F(ExportsTest, WhatMustProtectTheConnectionOfAClient) {
  const Exports exports = Parsed(
      "/any *\n/clear *(xprtsec=none)\n/tls *(xprtsec=tls)\n/mtls *(xprtsec=mtls)\n"
      "/both *(xprtsec=tls:mtls)\n");
  const auto error = [&](Protection protection, std::string_view path) {
    return exports.Find({"10.0.0.1", 0, "", protection}, path, names_).error().value();
  };
  struct Row {
    std::string_view path;
    int in_clear, with_tls, with_mutual_tls;
  };
  for (const Row& row : {Row{"/any", 0, 0, 0}, Row{"/clear", 0, EPROTOTYPE, EPROTOTYPE},
                         Row{"/tls", EPROTOTYPE, 0, 0}, Row{"/mtls", EPROTOTYPE, EPROTOTYPE, 0},
                         Row{"/both", EPROTOTYPE, 0, 0}}) {
    EXPECT_EQ(error(Protection::kNone, row.path), row.in_clear) << row.path;
    EXPECT_EQ(error(Protection::kTls, row.path), row.with_tls) << row.path;
    EXPECT_EQ(error(Protection::kMutualTls, row.path), row.with_mutual_tls) << row.path;
  }
  EXPECT_TRUE(exports.demands_tls());
  EXPECT_FALSE(Parsed("/any *\n/clear *(xprtsec=none:tls)").demands_tls());
}

TEST_F(ExportsTest, OfEqualEntriesTheFirstThatTheConnectionKeepsToCounts) {
  const Exports exports = Parsed("/a *(rw,xprtsec=tls) *(ro,xprtsec=none)");
  EXPECT_FALSE(
      exports.Find({"10.0.0.1", 0, "", Protection::kTls}, "/a", names_)->options->read_only);
  EXPECT_TRUE(exports.Find({"10.0.0.1", 0, ""}, "/a", names_)->options->read_only);
}

// What keeps somebody out is said as it is: who lacks the key is not told to speak TLS.
TEST_F(ExportsTest, WhoHasNoKeyIsAskedForThatFirst) {
  const Exports exports = Parsed("/a *(sec=psk,xprtsec=tls)");
  EXPECT_EQ(exports.Find({"10.0.0.1", 0, ""}, "/a", names_).error(), Errno(ENOKEY));
  EXPECT_EQ(exports.Find({"10.0.0.1", 0, "k"}, "/a", names_).error(), Errno(EPROTOTYPE));
}

TEST_F(ExportsTest, OffersWhatAnyRuleOffers) {
  EXPECT_EQ(Parsed("/a *\n/b *(sec=psk)").offered(), (SecurityFlavors{true, true}));
  EXPECT_EQ(Parsed("/a *").offered(), (SecurityFlavors{true, false}));
  EXPECT_EQ(Parsed("/b *(sec=psk)").offered(), (SecurityFlavors{false, true}));
}

TEST(Squash, MapsRootAndItsGroupsAndLeavesOthersAlone) {
  const uint32_t groups[] = {7, 0, 8};
  const wire::Caller root{0, 0, 022, 1, groups}, user{1000, 0, 077, 1, groups},
      plain{1000, 1000, 0, 1, {}};
  std::vector<uint32_t> kept;
  const auto ids = [](const Identity& identity) { return std::pair(identity.uid, identity.gid); };
  const auto list = [](const Identity& identity) {
    return std::vector<uint32_t>(identity.groups.begin(), identity.groups.end());
  };
  const SquashRule root_squash{}, none{false, false, 65534, 65534}, all{true, true, 99, 98},
      odd{true, false, 99, 98};
  EXPECT_EQ(ids(Squash(root, root_squash, kept)), std::pair(65534u, 65534u));
  EXPECT_THAT(list(Squash(root, root_squash, kept)), testing::IsEmpty());
  EXPECT_EQ(ids(Squash(root, none, kept)), std::pair(0u, 0u));
  EXPECT_THAT(list(Squash(root, none, kept)), testing::ElementsAre(7, 0, 8));
  EXPECT_EQ(ids(Squash(user, odd, kept)), std::pair(1000u, 98u));
  EXPECT_THAT(list(Squash(user, odd, kept)), testing::ElementsAre(7, 98, 8));
  EXPECT_EQ(Squash(user, odd, kept).umask, 077u);
  EXPECT_EQ(ids(Squash(plain, root_squash, kept)), std::pair(1000u, 1000u));
  EXPECT_EQ(ids(Squash(plain, all, kept)), std::pair(99u, 98u));
  EXPECT_EQ(ids(Squash(root, {false, true, 99, 98}, kept)), std::pair(99u, 98u));
}

}  // namespace
}  // namespace rdmafs
