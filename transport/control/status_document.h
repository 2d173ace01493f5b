// ProgramStatus: what a mount or a server tells about itself, and its JSON form. docs/statistics.md
// describes every field; both programs make their answers here, so that the names are the same.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "transport/base/clock.h"
#include "transport/control/operation_statistics.h"
#include "transport/memory/buffer_pool.h"
#include "transport/memory/memory_region_cache.h"

namespace rdmafs {

// Filled in anew for every answer. A value; owned by one thread. What is left empty (nullopt, "",
// no elements) does not appear in the document.
struct ProgramStatus {
  std::string program;   // "rdmafs" or "rdmafsd"
  std::string state;     // "ready", "reconnecting", ...
  Nanoseconds uptime = 0;

  // A mount's own.
  std::string source;       // "server:/export" as it was given
  std::string mount_point;
  std::string channel;      // "fuse-device" or "fuse-io-uring"
  // A server's own.
  std::vector<std::string> listening;                     // "tcp 0.0.0.0:20490"
  std::vector<std::pair<std::string, std::string>> exports;  // path, options
  std::optional<uint64_t> session_count;
  std::optional<uint64_t> open_file_count;

  struct Transport {
    std::string name;                // "tcp", "rdma", or "none" when nothing is connected
    std::string why;                 // why this one was chosen
    std::string device;              // RDMA device, "" without
    std::string memory;              // how calls expose memory: see Connection::exposure()
    std::string security;            // "TLSv1.3 TLS_AES_128_GCM_SHA256", "" in clear
    uint64_t secured_count = 0;      // server: connections with it
    std::vector<std::string> peers;  // "10.77.0.1:20490", at most kMaxPeers are shown
    uint64_t connection_count = 0;
    // Of all connections together.
    uint64_t messages_sent = 0, messages_received = 0;
    uint64_t bytes_sent = 0, bytes_received = 0;
    uint64_t copied_bytes = 0;       // payload that the program itself copied
  };
  static constexpr size_t kMaxPeers = 64;
  Transport transport;

  struct Credits {
    uint64_t granted = 0;   // calls that may be in flight, all connections together
    uint64_t in_flight = 0;
  };
  std::optional<Credits> credits;
  // By what they are for: "payload", "messages".
  std::map<std::string, BufferPool::Statistics> pools;
  std::optional<MemoryRegionCache::Statistics> memory;

  std::optional<uint64_t> retry_count, reconnect_count;
  // By name ("READ"). Those that never ran do not appear in the document.
  std::map<std::string, OperationSummary> operations;
  // Counters that only one program or layer has, by a dotted name ("read_ahead.hits").
  std::map<std::string, uint64_t> counters;
};

// One JSON document each. Bytes that are not UTF-8 (a path may have them) become U+FFFD.
std::string StatusJson(const ProgramStatus& status);      // who, where, how connected, pools
std::string StatisticsJson(const ProgramStatus& status);  // all that counts up

// What a ControlSocket answers: "status", "stats", or {"error": ...} for any other command.
// `collect` is only called for the two.
std::string AnswerControl(std::string_view command, const std::function<ProgramStatus()>& collect);

}  // namespace rdmafs
