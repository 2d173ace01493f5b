#include "ctl/host.h"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>

namespace rdmafs {
namespace {

constexpr size_t kMaxFileBytes = 64 * 1024;

std::optional<uint64_t> ParseLimit(const std::string& word) {
  if (word == "unlimited") return UINT64_MAX;
  char* end = nullptr;
  const uint64_t value = std::strtoull(word.c_str(), &end, 10);
  if (end == word.c_str() || *end != '\0') return std::nullopt;
  return value;
}

}  // namespace

std::optional<std::string> Host::Read(const std::string& path) const {
  std::ifstream file(root_ + path, std::ios::binary);
  if (!file) return std::nullopt;
  std::string text(kMaxFileBytes, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) return std::nullopt;
  text.resize(static_cast<size_t>(file.gcount()));
  const size_t last = text.find_last_not_of(" \t\n");
  text.resize(last == std::string::npos ? 0 : last + 1);
  return text;
}

std::vector<std::string> Host::List(const std::string& path) const {
  std::vector<std::string> names;
  std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir((root_ + path).c_str()), &::closedir);
  if (stream == nullptr) return names;
  while (const dirent* entry = ::readdir(stream.get())) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool Host::Exists(const std::string& path) const {
  return ::access((root_ + path).c_str(), F_OK) == 0;
}

bool Host::Usable(const std::string& path) const {
  return ::access((root_ + path).c_str(), R_OK | W_OK) == 0;
}

std::pair<int, int> Host::KernelVersion() const {
  int major = 0, minor = 0;
  const std::string release = Read("/proc/sys/kernel/osrelease").value_or("");
  if (std::sscanf(release.c_str(), "%d.%d", &major, &minor) != 2) return {0, 0};
  return {major, minor};
}

std::optional<Host::Limit> Host::ReadLimit(const std::string& name) const {
  std::istringstream lines(Read("/proc/self/limits").value_or(""));
  for (std::string line; std::getline(lines, line);) {
    if (line.compare(0, name.size(), name) != 0) continue;
    std::istringstream words(line.substr(name.size()));
    std::string soft, hard;
    words >> soft >> hard;
    const auto soft_limit = ParseLimit(soft), hard_limit = ParseLimit(hard);
    if (!soft_limit || !hard_limit) return std::nullopt;
    return Limit{*soft_limit, *hard_limit};
  }
  return std::nullopt;
}

bool Host::HasCapability(int number) const {
  const std::string status = Read("/proc/self/status").value_or("");
  const size_t line = status.find("CapEff:");
  if (line == std::string::npos) return false;
  return (std::strtoull(status.c_str() + line + 7, nullptr, 16) >> number & 1) != 0;
}

}  // namespace rdmafs
