#include "ctl/text_report.h"

#include <algorithm>
#include <cstdio>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace rdmafs {
namespace {

using Json = nlohmann::ordered_json;

std::string Clean(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return text;
}

// The member, or null when it is not there.
const Json& At(const Json& json, const char* name) {
  static const Json kNull;
  const auto found = json.is_object() ? json.find(name) : json.end();
  return found == json.end() ? kNull : *found;
}

std::string Text(const Json& json) {
  if (json.is_string()) return Clean(json.get<std::string>());
  if (json.is_number_float()) {
    char text[32];
    std::snprintf(text, sizeof text, "%.1f", json.get<double>());
    return text;
  }
  if (json.is_array()) {
    std::string all;
    for (const Json& element : json) absl::StrAppend(&all, all.empty() ? "" : ", ", Text(element));
    return all;
  }
  return json.is_null() || json.is_object() ? "" : json.dump();
}

std::string Bytes(const Json& json) {
  if (!json.is_number()) return "?";
  double value = json.get<double>();
  const char* unit = "B";
  for (const char* larger : {"KiB", "MiB", "GiB", "TiB"}) {
    if (value < 1024) break;
    value /= 1024;
    unit = larger;
  }
  char text[48];
  std::snprintf(text, sizeof text, *unit == 'B' ? "%.0f %s" : "%.1f %s", value, unit);
  return text;
}

std::string Duration(const Json& json) {
  if (!json.is_number()) return "?";
  const auto seconds = static_cast<uint64_t>(std::max(0.0, std::min(json.get<double>(), 1e15)));
  if (seconds < 120) return absl::StrCat(seconds, " s");
  if (seconds < 7200) return absl::StrCat(seconds / 60, " min");
  return absl::StrCat(seconds / 3600, " h ", seconds / 60 % 60, " min");
}

void Line(std::string& out, const char* name, const std::string& value) {
  if (value.empty()) return;
  char label[32];
  std::snprintf(label, sizeof label, "  %-12s", name);
  absl::StrAppend(&out, label, value, "\n");
}

std::string Head(const Json& document) {
  std::string head = absl::StrCat(Text(At(document, "program")), " ", Text(At(document, "version")),
                                  ", pid ", Text(At(document, "pid")));
  const std::string source = Text(At(document, "source"));
  if (!source.empty())
    absl::StrAppend(&head, ": ", source, " on ", Text(At(document, "mount_point")));
  return head + "\n";
}

void PoolLines(const Json& document, std::string& out) {
  const Json& pools = At(document, "pool");
  if (!pools.is_object()) return;
  for (const auto& [name, pool] : pools.items()) {
    Line(out, "pool",
         absl::StrCat(Clean(name), ": ", Text(At(pool, "used")), " of ", Text(At(pool, "blocks")),
                      " blocks in use (peak ", Text(At(pool, "peak")), "), ",
                      Bytes(At(pool, "size_bytes")), " of at most ", Bytes(At(pool, "cap_bytes")),
                      ", found empty ", Text(At(pool, "empty_count")), " times"));
  }
}

void OperationLines(const Json& document, std::string& out) {
  const Json& operations = At(document, "operations");
  if (!operations.is_object() || operations.empty()) return;
  char line[160];
  std::snprintf(line, sizeof line, "  %-16s %12s %8s %10s %10s %10s %10s\n", "operation", "count",
                "errors", "p50 us", "p90 us", "p99 us", "max us");
  out += line;
  for (const auto& [name, operation] : operations.items()) {
    std::snprintf(line, sizeof line, "  %-16s %12s %8s %10s %10s %10s %10s\n", Clean(name).c_str(),
                  Text(At(operation, "count")).c_str(), Text(At(operation, "errors")).c_str(),
                  Text(At(operation, "p50_us")).c_str(), Text(At(operation, "p90_us")).c_str(),
                  Text(At(operation, "p99_us")).c_str(), Text(At(operation, "max_us")).c_str());
    out += line;
  }
}

const char* LevelName(Finding::Level level) {
  switch (level) {
    case Finding::Level::kFine: return "fine";
    case Finding::Level::kAdvice: return "advice";
    case Finding::Level::kMissing: return "missing";
  }
  return "";
}

}  // namespace

std::string StatusText(const Json& document) {
  const Json& transport = At(document, "transport");
  std::string out = Head(document);
  Line(out, "state",
       absl::StrCat(Text(At(document, "state")), ", up ", Duration(At(document, "uptime_s"))));
  const std::string why = Text(At(transport, "why")), device = Text(At(transport, "device"));
  Line(out, "transport",
       absl::StrCat(Text(At(transport, "name")), device.empty() ? "" : " on ", device,
                    why.empty() ? "" : absl::StrCat(" (", why, ")")));
  if (const std::string tls = Text(At(transport, "tls")); !tls.empty()) {
    const std::string count = Text(At(transport, "tls_connections"));
    Line(out, "tls",
         absl::StrCat(tls, count.empty() ? "" : absl::StrCat(", ", count, " connections")));
  }
  Line(out, "connections",
       absl::StrCat(Text(At(transport, "connections")), " to ", Text(At(transport, "peers"))));
  Line(out, "memory", Text(At(transport, "memory")));
  Line(out, "channel", Text(At(document, "channel")));
  Line(out, "listening", Text(At(document, "listening")));
  for (const Json& directory : At(document, "exports")) {
    Line(out, "export",
         absl::StrCat(Text(At(directory, "path")), " ", Text(At(directory, "options"))));
  }
  Line(out, "sessions", Text(At(document, "sessions")));
  Line(out, "open files", Text(At(document, "open_files")));
  if (const Json& credits = At(document, "credits"); credits.is_object()) {
    Line(out, "credits",
         absl::StrCat(Text(At(credits, "in_flight")), " of ", Text(At(credits, "granted")),
                      " in flight"));
  }
  PoolLines(document, out);
  return out;
}

std::string StatisticsText(const Json& document) {
  const Json& transport = At(document, "transport");
  std::string out = Head(document);
  Line(out, "uptime", Duration(At(document, "uptime_s")));
  Line(out, "sent",
       absl::StrCat(Text(At(transport, "messages_sent")), " messages, ",
                    Bytes(At(transport, "bytes_sent"))));
  Line(out, "received",
       absl::StrCat(Text(At(transport, "messages_received")), " messages, ",
                    Bytes(At(transport, "bytes_received"))));
  Line(out, "copied", absl::StrCat(Bytes(At(transport, "copied_bytes")), " of payload"));
  if (const Json& memory = At(document, "memory"); memory.is_object()) {
    Line(out, "memory",
         absl::StrCat(Text(At(memory, "lookups")), " lookups, ", Text(At(memory, "hits")),
                      " hits, ", Text(At(memory, "registrations")), " registrations, ",
                      Text(At(memory, "deregistrations")), " deregistrations"));
  }
  Line(out, "retries", Text(At(document, "retries")));
  Line(out, "reconnects", Text(At(document, "reconnects")));
  PoolLines(document, out);
  OperationLines(document, out);
  if (const Json& counters = At(document, "counters"); counters.is_object()) {
    for (const auto& [name, value] : counters.items())
      absl::StrAppend(&out, "  ", Clean(name), " ", Text(value), "\n");
  }
  return out;
}

std::string FindingsText(const std::vector<Finding>& findings) {
  std::string out;
  for (const Finding& finding : findings) {
    char label[48];
    std::snprintf(label, sizeof label, "%-8s %-17s ", LevelName(finding.level),
                  finding.topic.c_str());
    absl::StrAppend(&out, label, Clean(finding.text), "\n");
    if (!finding.remedy.empty())
      absl::StrAppend(&out, std::string(26, ' '), "-> ", finding.remedy, "\n");
  }
  return out;
}

std::string FindingsJson(const std::vector<Finding>& findings) {
  Json list = Json::array();
  for (const Finding& finding : findings) {
    list.push_back({{"topic", finding.topic},
                    {"level", LevelName(finding.level)},
                    {"text", finding.text},
                    {"remedy", finding.remedy}});
  }
  const Json document = {{"fine", AllFine(findings)}, {"findings", std::move(list)}};
  return document.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace rdmafs
