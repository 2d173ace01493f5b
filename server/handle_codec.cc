#include "server/handle_codec.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <cstring>
#include <memory>

namespace rdmafs {
namespace {

constexpr uint8_t kVersion = 1;
constexpr size_t kSipHashKeyBytes = 16;

struct Fixed {
  uint32_t export_id;
  uint8_t version;
  uint8_t kind;
  uint16_t object_size;
  uint64_t file_system;
};
static_assert(sizeof(Fixed) == HandleCodec::kFixedBytes);

using MacContext = std::unique_ptr<EVP_MAC_CTX, decltype(&EVP_MAC_CTX_free)>;

// Fetching and allocating cost more than the hash: once per thread.
EVP_MAC_CTX* ThreadContext() {
  static thread_local const MacContext context = [] {
    std::unique_ptr<EVP_MAC, decltype(&EVP_MAC_free)> mac(
        EVP_MAC_fetch(nullptr, "SIPHASH", nullptr), &EVP_MAC_free);
    MacContext made(mac ? EVP_MAC_CTX_new(mac.get()) : nullptr, &EVP_MAC_CTX_free);
    size_t size = HandleCodec::kMacBytes;
    OSSL_PARAM parameters[] = {OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size),
                               OSSL_PARAM_construct_end()};
    if (made && EVP_MAC_CTX_set_params(made.get(), parameters) != 1) made.reset();
    return made;
  }();
  return context.get();
}

}  // namespace

bool HandleCodec::Available() { return ThreadContext() != nullptr; }

void HandleCodec::Sign(const uint8_t* bytes, size_t size, uint8_t* mac) const {
  EVP_MAC_CTX* context = ThreadContext();
  size_t written = 0;
  CHECK(context != nullptr && EVP_MAC_init(context, key_.data(), kSipHashKeyBytes, nullptr) == 1 &&
        EVP_MAC_update(context, bytes, size) == 1 &&
        EVP_MAC_final(context, mac, &written, kMacBytes) == 1 && written == kMacBytes);
}

wire::FileHandle HandleCodec::Name(const HandleParts& parts) const {
  CHECK(parts.object.size() <= kMaxObjectBytes);
  const Fixed fixed{export_id_, kVersion, static_cast<uint8_t>(parts.kind),
                    static_cast<uint16_t>(parts.object.size()), parts.file_system};
  wire::FileHandle handle;
  uint8_t* bytes = handle.bytes.data();
  std::memcpy(bytes, &fixed, sizeof fixed);
  if (!parts.object.empty())
    std::memcpy(bytes + sizeof fixed, parts.object.data(), parts.object.size());
  handle.size_bytes = static_cast<uint16_t>(sizeof fixed + parts.object.size());
  return handle;
}

wire::FileHandle HandleCodec::Encode(const HandleParts& parts) const {
  wire::FileHandle handle = Name(parts);
  uint8_t* bytes = handle.bytes.data();
  Sign(bytes, handle.size_bytes, bytes + handle.size_bytes);
  handle.size_bytes += kMacBytes;
  return handle;
}

Result<HandleParts> HandleCodec::Decode(const wire::FileHandle& handle) const {
  if (handle.size_bytes < kFixedBytes + kMacBytes || handle.size_bytes > wire::kMaxHandleBytes)
    return Errno(EBADF);
  const size_t signed_size = handle.size_bytes - kMacBytes;
  uint8_t mac[kMacBytes];
  Sign(handle.bytes.data(), signed_size, mac);
  if (CRYPTO_memcmp(mac, handle.bytes.data() + signed_size, kMacBytes) != 0) return Errno(EBADF);
  Fixed fixed;
  std::memcpy(&fixed, handle.bytes.data(), sizeof fixed);
  if (fixed.version != kVersion || fixed.export_id != export_id_ ||
      fixed.object_size != signed_size - sizeof fixed) {
    return Errno(EBADF);
  }
  return HandleParts{static_cast<HandleKind>(fixed.kind), fixed.file_system,
                     handle.view().substr(sizeof fixed, fixed.object_size)};
}

}  // namespace rdmafs
