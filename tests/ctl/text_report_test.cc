// The text that people see, from documents of all kinds.
#include "ctl/text_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "transport/control/status_document.h"

namespace rdmafs {
namespace {

using Json = nlohmann::ordered_json;
using testing::HasSubstr;
using testing::Not;

ProgramStatus Mount() {
  ProgramStatus status;
  status.program = "rdmafs";
  status.state = "ready";
  status.source = "server:/export";
  status.mount_point = "/mnt";
  status.uptime = 7260 * kSecond;
  status.transport = {.name = "rdma",
                      .why = "both ends have a device",
                      .device = "rxe0",
                      .memory = "window",
                      .peers = {"10.77.0.1:20490"}};
  status.pools["payload"] = {
      .block_count = 15, .used_count = 3, .size_bytes = 16 << 20, .cap_bytes = 64 << 20};
  OperationStatistics shard(1);
  shard.Record(0, 2 * kMicrosecond, true);
  shard.AddTo(0, status.operations["READ"]);
  return status;
}

TEST(TextReport, StatusNamesTransportReasonPeersAndPool) {
  const std::string text = StatusText(Json::parse(StatusJson(Mount())));
  EXPECT_THAT(text, HasSubstr("server:/export on /mnt\n"));
  EXPECT_THAT(text, HasSubstr("rdma on rxe0 (both ends have a device)\n"));
  EXPECT_THAT(text, HasSubstr("window\n"));
  EXPECT_THAT(text, HasSubstr("10.77.0.1:20490\n"));
  EXPECT_THAT(text, HasSubstr("ready, up 2 h 1 min\n"));
  EXPECT_THAT(text, HasSubstr("16.0 MiB of at most 64.0 MiB"));
}

TEST(TextReport, StatisticsHaveALineForEachOperation) {
  const std::string text = StatisticsText(Json::parse(StatisticsJson(Mount())));
  EXPECT_THAT(text, HasSubstr("READ                        1        1        2.0"));
  EXPECT_THAT(text, HasSubstr("copied      0 B of payload\n"));
}

TEST(TextReport, DocumentsOfAnyShapeAreShownAsFarAsTheyGo) {
  for (const char* text : {"{}", "[]", "null", "7",
                           R"({"transport":5,"pool":[1],"operations":{"READ":3},"exports":"x"})",
                           R"({"uptime_s":1e300,"pool":{"a":null},"counters":{"x":{}}})"}) {
    const Json document = Json::parse(text);
    EXPECT_FALSE(StatusText(document).empty());
    EXPECT_FALSE(StatisticsText(document).empty());
  }
}

TEST(TextReport, ControlCharactersDoNotReachTheTerminal) {
  ProgramStatus status = Mount();
  status.mount_point = "/mnt/\x1b[31m\n";
  EXPECT_THAT(StatusText(Json::parse(StatusJson(status))), HasSubstr("/mnt/?[31m?\n"));
}

TEST(TextReport, FindingsShowTheRemedyBelowWhatItMends) {
  const std::string text = FindingsText(
      {{Finding::Level::kFine, "kernel", "Linux 6.1", ""},
       {Finding::Level::kMissing, "fuse-device", "/dev/fuse is not there", "modprobe fuse"}});
  EXPECT_THAT(text, HasSubstr("fine     kernel            Linux 6.1\n"));
  EXPECT_THAT(text, HasSubstr("missing  fuse-device       /dev/fuse is not there\n"));
  EXPECT_THAT(text, HasSubstr("-> modprobe fuse\n"));
}

TEST(TextReport, FindingsAsJsonSayWhetherAllIsFine) {
  const Json json =
      Json::parse(FindingsJson({{Finding::Level::kAdvice, "server", "none", "start it"}}));
  EXPECT_EQ(json["fine"], true);
  EXPECT_EQ(json["findings"][0]["level"], "advice");
}

}  // namespace
}  // namespace rdmafs
