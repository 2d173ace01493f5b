// The command line of rdmafs.
#include "fuse/mount_options.h"

#include <gmock/gmock.h>

#include "absl/strings/str_join.h"

namespace rdmafs::fuse {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

absl::StatusOr<MountOptions> Parse(std::vector<std::string> arguments) {
  return ParseArguments(arguments);
}

absl::StatusOr<MountOptions> WithOptions(std::string list) {
  return Parse({"host:/dir", "/mnt", "-o", std::move(list)});
}

std::string ErrorOf(const absl::StatusOr<MountOptions>& parsed) {
  return parsed.ok() ? "no error" : std::string(parsed.status().message());
}

struct SourceRow {
  const char* source;
  const char* host;
  const char* directory;
};

class GoodSource : public ::testing::TestWithParam<SourceRow> {};

TEST_P(GoodSource, IsTakenApart) {
  MountOptions options;
  ASSERT_TRUE(ParseSource(GetParam().source, options).ok());
  EXPECT_EQ(absl::StrJoin(options.hosts, " "), GetParam().host);
  EXPECT_EQ(options.directory, GetParam().directory);
}

INSTANTIATE_TEST_SUITE_P(MountOptions, GoodSource,
                         ::testing::Values(SourceRow{"server:/export", "server", "/export"},
                                           SourceRow{"10.0.0.1:/", "10.0.0.1", "/"},
                                           SourceRow{"[fe80::1]:/a:b/c", "fe80::1", "/a:b/c"},
                                           SourceRow{"s:/with,comma", "s", "/with,comma"},
                                           SourceRow{"a,b.c:/x", "a b.c", "/x"},
                                           SourceRow{"[fe80::1],b,[::1]:/x:y", "fe80::1 b ::1",
                                                     "/x:y"}));

class BadSource : public ::testing::TestWithParam<const char*> {};

TEST_P(BadSource, IsRefused) {
  MountOptions options;
  EXPECT_FALSE(ParseSource(GetParam(), options).ok());
}

INSTANTIATE_TEST_SUITE_P(MountOptions, BadSource,
                         ::testing::Values("", "server", ":/dir", "server:", "server:relative",
                                           "[::1:/dir", "[::1]/dir", "[]:/dir", "fe80::1:/dir",
                                           "a,:/dir", ",a:/dir", "a,b", "a,/dir",
                                           "1,2,3,4,5,6,7,8,9:/dir"));

TEST(MountOptions, TheDefaultsAreThoseOfTheHelpText) {
  const auto options = Parse({"host:/dir", "/mnt"});
  ASSERT_TRUE(options.ok());
  EXPECT_EQ(options->port, 20490);
  EXPECT_EQ(options->nconnect, 4u);
  EXPECT_EQ(options->pool_bytes, size_t{64} << 20);
  EXPECT_EQ(options->settings.attr_timeout, kSecond);
  EXPECT_EQ(options->settings.entry_timeout, kSecond);
  EXPECT_EQ(options->settings.negative_timeout, 0);
  EXPECT_EQ(options->settings.cache, CacheMode::kAuto);
  EXPECT_EQ(options->transport, TransportChoice::kAuto);
  EXPECT_EQ(options->exposure, MemoryExposure::kCache);
  EXPECT_EQ(options->read_ahead.mode, ReadAheadMode::kAuto);
  EXPECT_EQ(options->read_ahead.max_window_bytes, uint64_t{8} << 20);
  EXPECT_EQ(options->read_ahead.max_total_bytes, uint64_t{32} << 20);
  EXPECT_FALSE(options->soft || options->read_only || options->foreground ||
               options->settings.writeback);
}

TEST(MountOptions, EveryOptionIsUnderstood) {
  const auto options = WithOptions(
      "ro,direct_io,writeback,attr_timeout=0.5,entry_timeout=2,negative_timeout=3,cache=none,"
      "transport=tcp,mr=window,read_ahead=on,ra_max=2M,ra_total=1G,"
      "port=1,nconnect=16,pool_size=1G,shards=3,soft,timeout=7,log_level=debug");
  ASSERT_TRUE(options.ok()) << ErrorOf(options);
  EXPECT_TRUE(options->read_only && options->settings.direct_io && options->settings.writeback);
  EXPECT_EQ(options->read_ahead.mode, ReadAheadMode::kOn);
  EXPECT_EQ(options->read_ahead.max_window_bytes, uint64_t{2} << 20);
  EXPECT_EQ(options->read_ahead.max_total_bytes, uint64_t{1} << 30);
  EXPECT_EQ(options->settings.attr_timeout, 500 * kMillisecond);
  EXPECT_EQ(options->settings.entry_timeout, 2 * kSecond);
  EXPECT_EQ(options->settings.negative_timeout, 3 * kSecond);
  EXPECT_EQ(options->settings.cache, CacheMode::kNone);
  EXPECT_EQ(options->transport, TransportChoice::kTcp);
  EXPECT_EQ(options->exposure, MemoryExposure::kWindow);
  EXPECT_EQ(options->port, 1);
  EXPECT_EQ(options->nconnect, 16u);
  EXPECT_EQ(options->pool_bytes, size_t{1} << 30);
  EXPECT_EQ(options->shards, 3u);
  EXPECT_TRUE(options->soft);
  EXPECT_EQ(options->timeout, 7 * kSecond);
  EXPECT_EQ(options->log_level, LogLevel::kDebug);
}

TEST(MountOptions, AKeyIsForSecPsk) {
  EXPECT_FALSE(Parse({"host:/dir", "/mnt"})->psk);
  const auto options = WithOptions("sec=psk,key=/k,key_name=two");
  ASSERT_TRUE(options.ok()) << ErrorOf(options);
  EXPECT_TRUE(options->psk);
  EXPECT_EQ(options->key_file, "/k");
  EXPECT_EQ(options->key_name, "two");
  EXPECT_THAT(ErrorOf(WithOptions("key=/k")), HasSubstr("sec=psk"));
  EXPECT_THAT(ErrorOf(WithOptions("key_name=two")), HasSubstr("sec=psk"));
  EXPECT_THAT(ErrorOf(WithOptions("sec=sys,key=/k")), HasSubstr("sec=psk"));
}

TEST(MountOptions, TlsByKeyOrByCertificates) {
  EXPECT_FALSE(Parse({"host:/dir", "/mnt"})->tls.on);
  EXPECT_TRUE(WithOptions("tls,sec=psk")->tls.on);
  EXPECT_TRUE(WithOptions("xprtsec=tls,sec=psk")->tls.on);
  EXPECT_TRUE(WithOptions("xprtsec=mtls,sec=psk")->tls.on);
  EXPECT_FALSE(WithOptions("xprtsec=none")->tls.on);
  const auto options = WithOptions("tls,ca=/a,cert=/c,cert_key=/k");
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->tls.ca_file + options->tls.certificate_file + options->tls.private_key_file,
            "/a/c/k");
}

TEST(MountOptions, TlsThatCouldNotBeIsRefusedBeforeAnythingIsDone) {
  EXPECT_THAT(ErrorOf(WithOptions("tls")), HasSubstr("ca=FILE"));
  EXPECT_THAT(ErrorOf(WithOptions("tls,sec=psk,transport=rdma")), HasSubstr("transport=rdma"));
  EXPECT_THAT(ErrorOf(WithOptions("ca=/a")), HasSubstr("tls"));
  EXPECT_THAT(ErrorOf(WithOptions("xprtsec=none,ca=/a")), HasSubstr("tls"));
  EXPECT_THAT(ErrorOf(WithOptions("tls,ca=/a,cert=/c")), HasSubstr("cert_key="));
  EXPECT_THAT(ErrorOf(WithOptions("tls,sec=psk,cert=/c,cert_key=/k")), HasSubstr("ca=FILE"));
  EXPECT_THAT(ErrorOf(WithOptions("xprtsec=mtls,ca=/a")), HasSubstr("mtls"));
  EXPECT_THAT(ErrorOf(WithOptions("xprtsec=mtls,sec=psk,ca=/a")), HasSubstr("mtls"));
  EXPECT_THAT(ErrorOf(WithOptions("xprtsec=some")), HasSubstr("none, tls, mtls"));
}

TEST(MountOptions, OnlyAmongSeveralServersDoesAMountGoFromTcpToRdma) {
  auto never = [](const char* source, const char* list) {
    return Parse({source, "/mnt", "-o", list}).value().NeverLeavesTcp();
  };
  EXPECT_TRUE(never("a:/x", "transport=auto"));
  EXPECT_TRUE(never("a,b:/x", "transport=tcp"));
  EXPECT_TRUE(never("a,b:/x", "tls,ca=/ca.pem"));
  EXPECT_FALSE(never("a,b:/x", "transport=auto"));
}

TEST(MountOptions, TheLastOfTwoContradictingOptionsCounts) {
  EXPECT_FALSE(WithOptions("ro,rw")->read_only);
  EXPECT_TRUE(WithOptions("rw,ro")->read_only);
  EXPECT_FALSE(WithOptions("soft,hard")->soft);
}

TEST(MountOptions, WhatOnlyMountAndSystemdCareAboutIsIgnored) {
  const auto options = WithOptions(
      "defaults,_netdev,nofail,noauto,user,x-systemd.automount,x-gvfs-hide,relatime,comment=x,,");
  ASSERT_TRUE(options.ok()) << ErrorOf(options);
  EXPECT_TRUE(options->kernel_options.empty());
}

TEST(MountOptions, WhatTheKernelCaresAboutIsHandedOn) {
  EXPECT_THAT(WithOptions("allow_other,nosuid,dev,noatime,default_permissions")->kernel_options,
              ElementsAre("allow_other", "nosuid", "dev", "noatime", "default_permissions"));
  EXPECT_THAT(WithOptions("max_read=64K")->kernel_options, ElementsAre("max_read=65536"));
}

TEST(MountOptions, WhatDebiansMountFuse3SaysIsUnderstood) {
  const auto options = Parse({"server:/export", "/mnt", "-o", "rw,dev,suid"});
  ASSERT_TRUE(options.ok()) << ErrorOf(options);
  EXPECT_THAT(options->kernel_options, ElementsAre("dev", "suid"));
}

TEST(MountOptions, SwitchesMayStandAnywhere) {
  const auto options = Parse({"-f", "host:/dir", "-oro", "/mnt", "-d"});
  ASSERT_TRUE(options.ok()) << ErrorOf(options);
  EXPECT_TRUE(options->foreground && options->debug && options->read_only);
  EXPECT_EQ(options->mount_point, "/mnt");
}

TEST(MountOptions, HelpAndVersionNeedNoOperands) {
  EXPECT_TRUE(Parse({"--help"})->help);
  EXPECT_TRUE(Parse({"-V"})->version);
}

TEST(MountOptions, TheHelpTextNamesEveryOption) {
  for (const char* name : {"ro",
                           "allow_other",
                           "default_permissions",
                           "direct_io",
                           "max_read",
                           "attr_timeout",
                           "entry_timeout",
                           "negative_timeout",
                           "cache",
                           "writeback",
                           "read_ahead",
                           "ra_max",
                           "ra_total",
                           "transport",
                           "mr=cache",
                           "port",
                           "nconnect",
                           "pool_size",
                           "shards",
                           "hard",
                           "soft",
                           "timeout",
                           "log_level",
                           "-f",
                           "-d",
                           "--help",
                           "--version"}) {
    EXPECT_THAT(HelpText(), HasSubstr(name));
  }
}

struct BadRow {
  const char* option;
  const char* said;  // in the error
};

class BadOption : public ::testing::TestWithParam<BadRow> {};

TEST_P(BadOption, IsNamedInOneLine) {
  const auto options = WithOptions(GetParam().option);
  ASSERT_FALSE(options.ok());
  EXPECT_THAT(ErrorOf(options), HasSubstr(GetParam().said));
  EXPECT_THAT(ErrorOf(options), Not(Contains('\n')));
}

INSTANTIATE_TEST_SUITE_P(
    MountOptions, BadOption,
    ::testing::Values(BadRow{"colour=red", "unknown option 'colour=red'"}, BadRow{"rwx", "'rwx'"},
                      BadRow{"cache", "cache"}, BadRow{"cache=", "none, auto, always"},
                      BadRow{"cache=never", "none, auto, always"}, BadRow{"port=0", "1 to 65535"},
                      BadRow{"port=65536", "1 to 65535"}, BadRow{"port=-1", "1 to 65535"},
                      BadRow{"port=12x", "1 to 65535"}, BadRow{"nconnect=17", "1 to 16"},
                      BadRow{"pool_size=1M", "pool_size"}, BadRow{"pool_size=M", "pool_size"},
                      BadRow{"pool_size=99999999999999999999", "pool_size"},
                      BadRow{"pool_size=16777216T", "pool_size"}, BadRow{"max_read=4095", "4096"},
                      BadRow{"max_read=2M", "1048576"}, BadRow{"attr_timeout=-1", "seconds"},
                      BadRow{"attr_timeout=nan", "seconds"}, BadRow{"attr_timeout=inf", "seconds"},
                      BadRow{"timeout=0", "at least 1"}, BadRow{"shards=65", "1 to 64"},
                      BadRow{"transport=smoke", "auto, rdma, tcp"}, BadRow{"log_level=9", "notice"},
                      BadRow{"mr=doors", "cache, window"}, BadRow{"sec=krb5", "sys, psk"},
                      BadRow{"sec", "sec"}, BadRow{"key=", "name of a file"},
                      BadRow{"key_name=a b", "name of a key"}, BadRow{"ro=1", "unknown"},
                      BadRow{"remount", "unknown"}));

TEST(MountOptions, TooFewOrTooManyOperandsAndUnknownSwitchesAreRefused) {
  EXPECT_FALSE(Parse({}).ok());
  EXPECT_FALSE(Parse({"host:/dir"}).ok());
  EXPECT_FALSE(Parse({"host:/dir", "/mnt", "more"}).ok());
  EXPECT_FALSE(Parse({"host:/dir", "/mnt", "-o"}).ok());
  EXPECT_FALSE(Parse({"host:/dir", "/mnt", "--frobnicate"}).ok());
}

}  // namespace
}  // namespace rdmafs::fuse
