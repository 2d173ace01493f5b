#include "server/client_pattern.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <charconv>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"

namespace rdmafs {
namespace {

constexpr int kMappedBits = 96;
constexpr uint8_t kMappedPrefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
constexpr size_t kMaxNameBytes = 255;

std::string HostText(const sockaddr* address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address != nullptr && address->sa_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, text, sizeof text);
  } else if (address != nullptr && address->sa_family == AF_INET6) {
    inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr, text,
              sizeof text);
  }
  return text;
}

// "16" or "255.255.0.0" as a number of bits of the 128, or -1.
int ParseBits(std::string_view text, bool ipv4) {
  int bits;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bits);
  if (error == std::errc() && end == text.data() + text.size()) {
    if (bits < 0 || bits > (ipv4 ? 32 : 128)) return -1;
    return ipv4 ? kMappedBits + bits : bits;
  }
  in_addr mask;
  if (!ipv4 || inet_pton(AF_INET, std::string(text).c_str(), &mask) != 1) return -1;
  const uint32_t host = ntohl(mask.s_addr);
  // Ones, then zeros.
  return (~host & (~host + 1)) == 0 ? kMappedBits + std::popcount(host) : -1;
}

// As in a shell, without brackets; a '*' does not cross a '.' (exports(5)).
bool Glob(std::string_view pattern, std::string_view name) {
  if (pattern.empty()) return name.empty();
  if (pattern.front() != '*') {
    return !name.empty() &&
           (pattern.front() == '?' ? name.front() != '.' : pattern.front() == name.front()) &&
           Glob(pattern.substr(1), name.substr(1));
  }
  for (size_t taken = 0; taken <= name.size(); ++taken) {
    if (Glob(pattern.substr(1), name.substr(taken))) return true;
    if (taken < name.size() && name[taken] == '.') return false;
  }
  return false;
}

std::string Lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

bool IsNameCharacter(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' || c == '_' ||
         c == '*' || c == '?';
}

}  // namespace

std::optional<HostAddress> HostAddress::Parse(std::string_view text) {
  const std::string plain(text.substr(0, text.find('%')));
  HostAddress address;
  if (inet_pton(AF_INET6, plain.c_str(), address.bytes_.data()) == 1) return address;
  std::memcpy(address.bytes_.data(), kMappedPrefix, sizeof kMappedPrefix);
  if (inet_pton(AF_INET, plain.c_str(), address.bytes_.data() + sizeof kMappedPrefix) == 1)
    return address;
  return std::nullopt;
}

bool HostAddress::is_ipv4() const {
  return std::equal(std::begin(kMappedPrefix), std::end(kMappedPrefix), bytes_.begin());
}

bool HostAddress::is_loopback() const {
  if (is_ipv4()) return bytes_[12] == 127;
  return std::all_of(bytes_.begin(), bytes_.end() - 1, [](uint8_t byte) { return byte == 0; }) &&
         bytes_[15] == 1;
}

bool HostAddress::SharesPrefix(const HostAddress& other, int bits) const {
  const auto whole = static_cast<size_t>(bits / 8);
  if (!std::equal(bytes_.begin(), bytes_.begin() + whole, other.bytes_.begin())) return false;
  if (bits % 8 == 0) return true;
  const auto mask = static_cast<uint8_t>(0xff << (8 - bits % 8));
  return ((bytes_[whole] ^ other.bytes_[whole]) & mask) == 0;
}

std::vector<HostAddress> SystemHostNames::AddressesOf(const std::string& name) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* raw = nullptr;
  if (getaddrinfo(name.c_str(), nullptr, &hints, &raw) != 0) return {};
  std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> found(raw, &freeaddrinfo);
  std::vector<HostAddress> addresses;
  for (const addrinfo* info = raw; info != nullptr; info = info->ai_next) {
    if (auto address = HostAddress::Parse(HostText(info->ai_addr))) addresses.push_back(*address);
  }
  return addresses;
}

std::vector<std::string> SystemHostNames::NamesOf(const HostAddress& address) {
  sockaddr_in6 socket_address{};
  static_assert(sizeof address == sizeof socket_address.sin6_addr);
  socket_address.sin6_family = AF_INET6;
  std::memcpy(&socket_address.sin6_addr, &address, sizeof address);
  char name[NI_MAXHOST];
  if (getnameinfo(reinterpret_cast<const sockaddr*>(&socket_address), sizeof socket_address, name,
                  sizeof name, nullptr, 0, NI_NAMEREQD) != 0) {
    return {};
  }
  return {name};
}

std::vector<HostAddress> SystemHostNames::OwnAddresses() {
  ifaddrs* raw = nullptr;
  if (getifaddrs(&raw) != 0) return {};
  std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> found(raw, &freeifaddrs);
  std::vector<HostAddress> addresses;
  for (const ifaddrs* interface = raw; interface != nullptr; interface = interface->ifa_next) {
    if (auto address = HostAddress::Parse(HostText(interface->ifa_addr)))
      addresses.push_back(*address);
  }
  return addresses;
}

absl::StatusOr<ClientPattern> ClientPattern::Parse(std::string_view text) {
  ClientPattern pattern;
  pattern.text_ = std::string(text);
  if (text == "*") return pattern;
  if (text.starts_with("@")) {
    return absl::InvalidArgumentError(absl::StrCat("netgroups are not supported: ", pattern.text_));
  }
  const size_t slash = text.find('/');
  if (auto address = HostAddress::Parse(text.substr(0, slash));
      address && text.find('%') == text.npos) {
    pattern.kind_ = Kind::kNetwork;
    pattern.network_ = *address;
    if (slash != text.npos) pattern.bits_ = ParseBits(text.substr(slash + 1), address->is_ipv4());
    if (pattern.bits_ < 0)
      return absl::InvalidArgumentError(absl::StrCat("no such network: ", pattern.text_));
    return pattern;
  }
  if (text.empty() || text.size() > kMaxNameBytes ||
      !std::all_of(text.begin(), text.end(), IsNameCharacter)) {
    return absl::InvalidArgumentError(
        absl::StrCat("not a host, address or network: ", pattern.text_));
  }
  const bool wild = text.find_first_of("*?") != text.npos;
  // 10.77.*.* would be asked of the name service, which knows no such thing.
  if (wild && text.find_first_not_of("0123456789.*?") == text.npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("write addresses as a network (10.77.0.0/16): ", pattern.text_));
  }
  pattern.kind_ = wild ? Kind::kWildcard : Kind::kName;
  return pattern;
}

ClientPattern ClientPattern::ThisHost() {
  ClientPattern pattern;
  pattern.kind_ = Kind::kThisHost;
  pattern.text_ = "this host";
  return pattern;
}

bool ClientPattern::Matches(const HostAddress& peer, HostNames& names) const {
  const auto holds = [&peer](const std::vector<HostAddress>& addresses) {
    return std::find(addresses.begin(), addresses.end(), peer) != addresses.end();
  };
  switch (kind_) {
    case Kind::kAny:
      return true;
    case Kind::kNetwork:
      return peer.SharesPrefix(network_, bits_);
    case Kind::kThisHost:
      return peer.is_loopback() || holds(names.OwnAddresses());
    case Kind::kName:
      return holds(names.AddressesOf(text_));
    case Kind::kWildcard:
      // Whoever owns an address can give it any name: the name must lead back to the address.
      for (const std::string& name : names.NamesOf(peer)) {
        if (Glob(Lower(text_), Lower(name)) && holds(names.AddressesOf(name))) {
          return true;
        }
      }
      return false;
  }
  return false;
}

int ClientPattern::specificity() const {
  switch (kind_) {
    case Kind::kAny:
      return 0;
    case Kind::kWildcard:
      return 1;
    case Kind::kNetwork:
      return 2 + bits_;  // 130 for one address
    case Kind::kName:
    case Kind::kThisHost:
      return 130;
  }
  return 0;
}

}  // namespace rdmafs
