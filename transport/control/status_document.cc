#include "transport/control/status_document.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

namespace rdmafs {
namespace {

using Json = nlohmann::ordered_json;

double Microseconds(Nanoseconds value) { return static_cast<double>(value) / kMicrosecond; }

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void SetIfAny(Json& json, const char* name, const std::string& value) {
  if (!value.empty()) json[name] = value;
}
void SetIfAny(Json& json, const char* name, const std::optional<uint64_t>& value) {
  if (value.has_value()) json[name] = *value;
}

Json Head(const ProgramStatus& status) {
  Json json;
  json["program"] = status.program;
  json["version"] = RDMAFS_VERSION;
  json["pid"] = ::getpid();
  SetIfAny(json, "state", status.state);
  json["uptime_s"] = static_cast<double>(status.uptime) / kSecond;
  SetIfAny(json, "source", status.source);
  SetIfAny(json, "mount_point", status.mount_point);
  return json;
}

Json TransportJson(const ProgramStatus::Transport& transport) {
  Json json;
  json["name"] = transport.name.empty() ? "none" : transport.name;
  SetIfAny(json, "why", transport.why);
  SetIfAny(json, "device", transport.device);
  SetIfAny(json, "memory", transport.memory);
  SetIfAny(json, "tls", transport.security);
  if (transport.secured_count != 0) json["tls_connections"] = transport.secured_count;
  json["connections"] = transport.connection_count;
  Json peers = Json::array();
  for (const std::string& peer : transport.peers) {
    if (peers.size() == ProgramStatus::kMaxPeers) break;
    peers.push_back(peer);
  }
  json["peers"] = std::move(peers);
  return json;
}

Json TrafficJson(const ProgramStatus::Transport& transport) {
  return {{"name", transport.name.empty() ? "none" : transport.name},
          {"messages_sent", transport.messages_sent},
          {"messages_received", transport.messages_received},
          {"bytes_sent", transport.bytes_sent},
          {"bytes_received", transport.bytes_received},
          {"copied_bytes", transport.copied_bytes}};
}

Json PoolJson(const BufferPool::Statistics& pool) {
  return {{"size_bytes", pool.size_bytes}, {"cap_bytes", pool.cap_bytes},
          {"blocks", pool.block_count},    {"used", pool.used_count},
          {"peak", pool.used_count_peak},  {"empty_count", pool.empty_count}};
}

Json PoolsJson(const ProgramStatus& status) {
  Json json = Json::object();
  for (const auto& [name, pool] : status.pools) json[name] = PoolJson(pool);
  return json;
}

Json MemoryJson(const MemoryRegionCache::Statistics& memory) {
  return {{"lookups", memory.lookup_count},
          {"hits", memory.hit_count},
          {"registrations", memory.registration_count},
          {"owned_registrations", memory.owned_registration_count},
          {"deregistrations", memory.deregistration_count},
          {"foreign_count", memory.foreign_count},
          {"foreign_bytes", memory.foreign_bytes}};
}

Json OperationsJson(const ProgramStatus& status) {
  Json json = Json::object();
  for (const auto& [name, operation] : status.operations) {
    if (operation.count() == 0) continue;
    json[name] = {{"count", operation.count()},
                  {"errors", operation.error_count()},
                  {"p50_us", Microseconds(operation.Percentile(500))},
                  {"p90_us", Microseconds(operation.Percentile(900))},
                  {"p99_us", Microseconds(operation.Percentile(990))},
                  {"max_us", Microseconds(operation.max())}};
  }
  return json;
}

void AddServer(const ProgramStatus& status, Json& json) {
  if (!status.listening.empty()) json["listening"] = status.listening;
  if (!status.exports.empty()) {
    Json exports = Json::array();
    for (const auto& [path, options] : status.exports) {
      exports.push_back({{"path", path}, {"options", options}});
    }
    json["exports"] = std::move(exports);
  }
  SetIfAny(json, "sessions", status.session_count);
  SetIfAny(json, "open_files", status.open_file_count);
}

}  // namespace

std::string AnswerControl(std::string_view command, const std::function<ProgramStatus()>& collect) {
  if (command == "status") return StatusJson(collect());
  if (command == "stats") return StatisticsJson(collect());
  return Dump(Json{{"error", "unknown command"}, {"commands", {"status", "stats"}}});
}

std::string StatusJson(const ProgramStatus& status) {
  Json json = Head(status);
  SetIfAny(json, "channel", status.channel);
  AddServer(status, json);
  json["transport"] = TransportJson(status.transport);
  if (status.credits.has_value()) {
    json["credits"] = {{"granted", status.credits->granted},
                       {"in_flight", status.credits->in_flight}};
  }
  json["pool"] = PoolsJson(status);
  return Dump(json);
}

std::string StatisticsJson(const ProgramStatus& status) {
  Json json = Head(status);
  json["transport"] = TrafficJson(status.transport);
  SetIfAny(json, "retries", status.retry_count);
  SetIfAny(json, "reconnects", status.reconnect_count);
  if (status.memory.has_value()) json["memory"] = MemoryJson(*status.memory);
  json["pool"] = PoolsJson(status);
  json["operations"] = OperationsJson(status);
  if (!status.counters.empty()) json["counters"] = Json(status.counters);
  return Dump(json);
}

}  // namespace rdmafs
