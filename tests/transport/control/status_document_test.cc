// The documents that mounts and servers answer with.
#include "transport/control/status_document.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

namespace rdmafs {
namespace {

using Json = nlohmann::json;

ProgramStatus Mount() {
  ProgramStatus status;
  status.program = "rdmafs";
  status.source = "server:/export";
  status.mount_point = "/mnt";
  status.uptime = 90 * kSecond;
  status.transport = {.name = "tcp", .why = "no RDMA device here", .peers = {"127.0.0.1:20490"}};
  status.transport.copied_bytes = 7;
  status.pools["payload"] = {.used_count = 3, .cap_bytes = 64 << 20};
  OperationStatistics shard(1);
  shard.Record(0, 2 * kMicrosecond, true);
  shard.AddTo(0, status.operations["READ"]);
  status.operations["WRITE"] = {};
  return status;
}

TEST(StatusDocument, StatusSaysWhoIsConnectedHowAndWhy) {
  const Json json = Json::parse(StatusJson(Mount()));
  EXPECT_EQ(json["program"], "rdmafs");
  EXPECT_EQ(json["version"], RDMAFS_VERSION);
  EXPECT_EQ(json["pid"], ::getpid());
  EXPECT_EQ(json["uptime_s"], 90.0);
  EXPECT_EQ(json["transport"]["name"], "tcp");
  EXPECT_EQ(json["transport"]["why"], "no RDMA device here");
  EXPECT_EQ(json["transport"]["peers"][0], "127.0.0.1:20490");
  EXPECT_EQ(json["pool"]["payload"]["used"], 3);
  EXPECT_EQ(json["pool"]["payload"]["cap_bytes"], 64 << 20);
}

TEST(StatusDocument, WhatAProgramDoesNotHaveDoesNotAppear) {
  const Json json = Json::parse(StatusJson(Mount()));
  EXPECT_FALSE(json.contains("sessions"));
  EXPECT_FALSE(json.contains("exports"));
  EXPECT_FALSE(json.contains("credits"));
  EXPECT_FALSE(json["transport"].contains("memory"));
}

TEST(StatusDocument, StatusSaysHowCallsExposeMemory) {
  ProgramStatus mount = Mount();
  mount.transport.memory = "cache: siw0: it has none";
  EXPECT_EQ(Json::parse(StatusJson(mount))["transport"]["memory"], "cache: siw0: it has none");
}

TEST(StatusDocument, StatisticsListTheOperationsThatRan) {
  const Json json = Json::parse(StatisticsJson(Mount()));
  EXPECT_EQ(json["operations"]["READ"]["count"], 1);
  EXPECT_EQ(json["operations"]["READ"]["errors"], 1);
  EXPECT_EQ(json["operations"]["READ"]["max_us"], 2.0);
  EXPECT_FALSE(json["operations"].contains("WRITE"));
  EXPECT_EQ(json["transport"]["copied_bytes"], 7);
}

TEST(StatusDocument, APathThatIsNotUtf8StillMakesADocument) {
  ProgramStatus status = Mount();
  status.mount_point = "/mnt/\xff\n\"";
  EXPECT_EQ(Json::parse(StatusJson(status))["mount_point"], "/mnt/\uFFFD\n\"");
}

TEST(StatusDocument, TheNumberOfPeersShownIsBounded) {
  ProgramStatus status = Mount();
  status.transport.peers.assign(10000, "10.0.0.1:1");
  status.transport.connection_count = 10000;
  const Json json = Json::parse(StatusJson(status));
  EXPECT_EQ(json["transport"]["peers"].size(), ProgramStatus::kMaxPeers);
  EXPECT_EQ(json["transport"]["connections"], 10000);
}

TEST(AnswerControl, AnUnknownCommandGetsAnErrorWithoutCollecting) {
  bool collected = false;
  const Json json = Json::parse(AnswerControl("reboot \xff", [&] {
    collected = true;
    return ProgramStatus{};
  }));
  EXPECT_EQ(json["error"], "unknown command");
  EXPECT_FALSE(collected);
}

TEST(AnswerControl, StatusAndStatsAreTheTwoDocuments) {
  EXPECT_TRUE(Json::parse(AnswerControl("status", Mount))["transport"].contains("why"));
  EXPECT_TRUE(Json::parse(AnswerControl("stats", Mount)).contains("operations"));
}

}  // namespace
}  // namespace rdmafs
