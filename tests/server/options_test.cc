// The command line of rdmafsd, and the bound of the log of breaches.
#include "server/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "server/breach_log.h"
#include "tests/transport/base/manual_clock.h"

namespace rdmafs::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

ServerConfiguration Parse(const std::vector<std::string>& arguments) {
  auto configuration = ParseOptions(arguments);
  EXPECT_TRUE(configuration.ok()) << configuration.status();
  return configuration.ok() ? *configuration : ServerConfiguration();
}

std::string Complaint(const std::vector<std::string>& arguments) {
  auto configuration = ParseOptions(arguments);
  EXPECT_FALSE(configuration.ok());
  return std::string(configuration.status().message());
}

TEST(ServerOptions, NothingSaidIsTheServiceWithItsExportsFile) {
  const ServerConfiguration configuration = Parse({});
  EXPECT_FALSE(configuration.foreground);
  EXPECT_EQ(configuration.port, 20490);
  EXPECT_EQ(configuration.exports_file, "/etc/rdmafs/exports");
  EXPECT_EQ(configuration.transport, TransportChoice::kAuto);
  EXPECT_TRUE(configuration.directories.empty());
}

TEST(ServerOptions, DirectoriesAndOptionsMayStandInAnyOrder) {
  const ServerConfiguration configuration =
      Parse({"/srv/a", "-f", "-o", "port=0,transport=tcp", "/srv/b", "-oshards=3"});
  EXPECT_TRUE(configuration.foreground);
  EXPECT_EQ(configuration.port, 0);
  EXPECT_EQ(configuration.transport, TransportChoice::kTcp);
  EXPECT_EQ(configuration.shards, 3);
  EXPECT_THAT(configuration.directories, ElementsAre("/srv/a", "/srv/b"));
}

TEST(ServerOptions, ListsGrowWithEachMention) {
  const ServerConfiguration configuration = Parse(
      {"-o", "listen=10.0.0.1,listen=fd00::1,clients=10.0.0.0/8:192.168.1.7,clients=[fd00::]/8"});
  EXPECT_THAT(configuration.listen, ElementsAre("10.0.0.1", "fd00::1"));
  EXPECT_THAT(configuration.clients, ElementsAre("10.0.0.0/8", "192.168.1.7", "fd00::/8"));
}

TEST(ServerOptions, ExportOptionsArePassedOn) {
  EXPECT_EQ(Parse({"-o", "ro,port=1,all_squash", "-o", "anonuid=7"}).export_options,
            "ro,all_squash,anonuid=7");
}

TEST(ServerOptions, SizesHaveUnits) {
  EXPECT_EQ(Parse({"-o", "pool_size=65536"}).pool_bytes, 65536u);
  EXPECT_EQ(Parse({"-o", "pool_size=64k"}).pool_bytes, 65536u);
  EXPECT_EQ(Parse({"-o", "pool_size=3G"}).pool_bytes, size_t{3} << 30);
}

TEST(ServerOptions, WhatIsWrongIsNamed) {
  EXPECT_THAT(Complaint({"-o", "no_such_option"}), HasSubstr("no_such_option"));
  EXPECT_THAT(Complaint({"--no-such-option"}), HasSubstr("--no-such-option"));
  EXPECT_THAT(Complaint({"-o"}), HasSubstr("-o"));
  for (const char* option :
       {"port=x", "port=65536", "port=", "transport=ib", "shards=0", "shards=99999", "workers=-1",
        "pool_size=0", "pool_size=1X", "pool_size=99999999T", "io_uring=maybe", "log_level=loud",
        "clients=", "clients=a::b", "clients=[fd00::", "listen=", "state="}) {
    EXPECT_THAT(Complaint({"-o", option}), HasSubstr("is not a value")) << option;
  }
}

TEST(ServerOptions, TheUsageNamesEveryOption) {
  for (const char* option :
       {"listen=", "port=", "transport=", "clients=", "shards=", "workers=", "pool_size=",
        "io_uring=", "state=", "exports=", "run_dir=", "sec=", "key=", "tls=", "xprtsec=", "cert=",
        "cert_key=", "ca=", "log_level="}) {
    EXPECT_THAT(std::string(UsageText()), HasSubstr(option));
  }
}

TEST(ServerOptions, TlsIsOffUnlessItIsAskedFor) {
  EXPECT_EQ(Parse({}).tls, TlsChoice::kOff);
  EXPECT_EQ(Parse({"-o", "tls=accepted"}).tls, TlsChoice::kAccepted);
  const ServerConfiguration configuration =
      Parse({"-o", "tls=required,cert=/c,cert_key=/k,ca=/a,xprtsec=mtls", "/srv"});
  EXPECT_EQ(configuration.tls, TlsChoice::kRequired);
  EXPECT_EQ(configuration.certificate_file + configuration.private_key_file + configuration.ca_file,
            "/c/k/a");
  EXPECT_EQ(configuration.export_options, "xprtsec=mtls");
}

TEST(ServerOptions, WhatContradictsItselfAboutTlsIsNamed) {
  EXPECT_THAT(Complaint({"-o", "tls"}), HasSubstr("tls"));
  EXPECT_THAT(Complaint({"-o", "tls=yes"}), HasSubstr("'yes'"));
  EXPECT_THAT(Complaint({"-o", "tls=accepted,cert=/c"}), HasSubstr("cert_key="));
  EXPECT_THAT(Complaint({"-o", "tls=accepted,cert_key=/k"}), HasSubstr("cert="));
  EXPECT_THAT(Complaint({"-o", "cert=/c,cert_key=/k"}), HasSubstr("tls=accepted"));
  EXPECT_THAT(Complaint({"-o", "tls=accepted,ca=/a"}), HasSubstr("cert="));
  EXPECT_THAT(Complaint({"-o", "tls=required,transport=rdma"}), HasSubstr("TCP"));
}

TEST(ServerOptions, AKeyFileIsForWhatIsExportedWithKeys) {
  const ServerConfiguration configuration = Parse({"-o", "sec=psk,key=/k,clients=*", "/srv/a"});
  EXPECT_EQ(configuration.key_file, "/k");
  EXPECT_EQ(configuration.export_options, "sec=psk");
  EXPECT_THAT(configuration.clients, ElementsAre("*"));
  EXPECT_THAT(Complaint({"-o", "key=/k", "/srv/a"}), HasSubstr("sec=psk"));
  EXPECT_THAT(Complaint({"-o", "key=/k,sec=sys", "/srv/a"}), HasSubstr("sec=psk"));
  EXPECT_EQ(Parse({"-o", "key=/k"}).key_file, "/k");  // the exports file says what is for whom
}

TEST(BreachLog, WritesSoManyLinesInAnIntervalAndCountsTheRest) {
  ManualClock clock;
  BreachLog log(clock);
  testing::internal::CaptureStderr();
  for (uint32_t i = 0; i < kBreachLogLines + 5; ++i) log.Write("tcp", "10.0.0.1:9", "a reason");
  clock.now += kBreachLogInterval;
  log.Write("tcp", "10.0.0.1:9", "the next");
  const std::string written = testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(written.begin(), written.end(), '\n'), kBreachLogLines + 1);
  EXPECT_THAT(written, HasSubstr("the next (and 5 more not logged)"));
  EXPECT_EQ(log.count(), kBreachLogLines + 6);
}

}  // namespace
}  // namespace rdmafs::server
