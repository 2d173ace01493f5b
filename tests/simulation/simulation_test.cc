// Runs of the simulation. RDMAFS_SIMULATION_SEED: only that one, with a log;
// RDMAFS_SIMULATION_FIRST and RDMAFS_SIMULATION_COUNT: these.
#include "tests/simulation/simulation.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "transport/base/log.h"

namespace rdmafs::simulation {
namespace {

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  uint64_t value;
  return text != nullptr && absl::SimpleAtoi(text, &value) ? value : otherwise;
}

TEST(Simulation, WhatWasAcknowledgedIsThereOnceWhateverIsLost) {
  auto memory = std::make_unique<Memory>();
  uint64_t first = FromEnvironment("RDMAFS_SIMULATION_FIRST", 1);
  uint64_t count = FromEnvironment("RDMAFS_SIMULATION_COUNT", 100);
  if (const uint64_t seed = FromEnvironment("RDMAFS_SIMULATION_SEED", 0); seed != 0) {
    OpenLog("simulation", LogTarget::kStandardError, LogLevel::kDebug);
    first = seed;
    count = 1;
  } else {
    OpenLog("simulation", LogTarget::kStandardError, static_cast<LogLevel>(0));
  }
  for (uint64_t seed = first; seed < first + count; ++seed) {
    const std::vector<std::string> faults = Simulate(seed, *memory);
    EXPECT_TRUE(faults.empty()) << absl::StrJoin(faults, "\n")
                                << "\nreplay: RDMAFS_SIMULATION_SEED=" << seed
                                << " simulation_test";
    if (!faults.empty()) break;
  }
}

}  // namespace
}  // namespace rdmafs::simulation
