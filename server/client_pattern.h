// ClientPattern: which hosts a rule of an export is for.
#pragma once

#include <netinet/in.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace rdmafs {

// An IPv4 or IPv6 address as 16 bytes; IPv4 in its IPv6-mapped form.
class HostAddress {
 public:
  // "10.77.0.1", "fd00::1", "::ffff:10.77.0.1", "fe80::1%eth0" (the zone is dropped); else nothing.
  static std::optional<HostAddress> Parse(std::string_view text);
  bool is_ipv4() const;
  bool is_loopback() const;
  // Of the 128 bits; an IPv4 prefix counts from 96 on.
  bool SharesPrefix(const HostAddress& other, int bits) const;
  friend bool operator==(const HostAddress&, const HostAddress&) = default;

 private:
  std::array<uint8_t, 16> bytes_{};
};

// Where names and the host's own addresses come from. May block for seconds.
class HostNames {
 public:
  virtual ~HostNames() = default;
  virtual std::vector<HostAddress> AddressesOf(const std::string& name) = 0;
  // Names that the address is known by, none without a reverse entry.
  virtual std::vector<std::string> NamesOf(const HostAddress& address) = 0;
  // Of this host's interfaces, as they are now.
  virtual std::vector<HostAddress> OwnAddresses() = 0;
};

// getaddrinfo(3), getnameinfo(3), getifaddrs(3). Thread-safe.
class SystemHostNames final : public HostNames {
 public:
  std::vector<HostAddress> AddressesOf(const std::string& name) override;
  std::vector<std::string> NamesOf(const HostAddress& address) override;
  std::vector<HostAddress> OwnAddresses() override;
};

// A value.
class ClientPattern {
 public:
  // exports(5): an address, address/bits, address/netmask, a host's name, a name with '*' and '?',
  // or "*". The status says what is wrong with it.
  static absl::StatusOr<ClientPattern> Parse(std::string_view text);
  // Loopback, and the addresses that this host has when it is asked.
  static ClientPattern ThisHost();

  bool Matches(const HostAddress& peer, HostNames& names) const;
  // Of several rules that match, the one with the largest value counts.
  int specificity() const;
  const std::string& text() const { return text_; }

 private:
  enum class Kind { kAny, kWildcard, kThisHost, kNetwork, kName };

  Kind kind_ = Kind::kAny;
  std::string text_;  // as it was written
  HostAddress network_;
  int bits_ = 128;
};

}  // namespace rdmafs
