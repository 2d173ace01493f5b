// Simulate: one run of the world, all of it decided by a seed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/simulation/world.h"

namespace rdmafs::simulation {

// What went wrong, or nothing. Deterministic: the same seed gives the same run.
std::vector<std::string> Simulate(uint64_t seed, Memory& memory);

}  // namespace rdmafs::simulation
