// HandleCodec: file handles as they go to clients, signed so that none can be made up.
#pragma once

#include <cstdint>
#include <string_view>

#include "server/handle_key.h"
#include "transport/base/errno.h"
#include "transport/wire/types.h"

namespace rdmafs {

enum class HandleKind : uint8_t {
  kRoot = 1,   // the export itself; no object bytes
  kFile = 2,   // handle type and bytes of name_to_handle_at(2)
  kTable = 3,  // device, inode, stamp of an object that the server keeps open
};

// What is in a handle but the signature. `object` is a view of the handle, or of the asker's bytes.
struct HandleParts {
  HandleKind kind{};
  uint64_t file_system = 0;
  std::string_view object;
};

// Thread-safe. Layout: export id (u32; first, as the server asks it which store a handle is for),
// version, kind, size of the object's bytes (u16), file system (u64), the object's bytes, and
// behind them a SipHash-2-4 of 128 bits over all of that.
class HandleCodec {
 public:
  static constexpr size_t kMacBytes = 16;
  static constexpr size_t kFixedBytes = 16;
  static constexpr size_t kMaxObjectBytes = wire::kMaxHandleBytes - kFixedBytes - kMacBytes;

  HandleCodec(const HandleKey& key, uint32_t export_id) : key_(key), export_id_(export_id) {}
  // Whether OpenSSL here can compute the signature.
  static bool Available();

  // What a handle says, without a signature: to be compared on this side, never given away.
  // parts.object is at most kMaxObjectBytes.
  wire::FileHandle Name(const HandleParts& parts) const;
  wire::FileHandle Encode(const HandleParts& parts) const;
  // EBADF when this codec's key did not sign it for this export.
  Result<HandleParts> Decode(const wire::FileHandle& handle) const;

 private:
  void Sign(const uint8_t* bytes, size_t size, uint8_t* mac) const;

  const HandleKey key_;
  const uint32_t export_id_;
};

}  // namespace rdmafs
