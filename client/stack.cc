#include "client/stack.h"

#include <algorithm>
#include <utility>

#include "client/version_layer.h"

namespace rdmafs {

Stack BuildStack(const StackParts& parts, const StackOptions& options) {
  Stack stack(parts.remote);
  if (WantsReadAhead(options.read_ahead.mode, options.situation)) {
    stack.PushReadAhead(parts, options.read_ahead);
  }
  return stack;
}

ReadAheadFiles::Options SharedReadAhead(const ReadAheadOptions& options,
                                        const BufferPool::Options& pool, size_t pool_count) {
  ReadAheadFiles::Options shared;
  shared.policy.max_window_bytes = options.max_window_bytes;
  shared.policy.max_fetch_bytes =
      static_cast<uint32_t>(std::min<uint64_t>(pool.payload_bytes, wire::kMaxPayloadBytes));
  shared.max_memory_bytes =
      std::min<uint64_t>(options.max_total_bytes, pool_count * pool.cap_bytes / 2);
  return shared;
}

void Stack::PushReadAhead(const StackParts& parts, const ReadAheadOptions& options) {
  Push<VersionLayer>(parts.loop, parts.files.versions);
  ReadAheadLayer& pushed =
      Push<ReadAheadLayer>(parts.loop, parts.pool, parts.files, options.max_in_flight);
  read_ahead_ = &pushed.statistics();
}

template <typename T, typename... Args>
T& Stack::Push(Args&&... args) {
  auto layer = std::make_unique<T>(*top_, std::forward<Args>(args)...);
  T& pushed = *layer;
  layers_.push_back(std::move(layer));
  top_ = &pushed;
  return pushed;
}

Stack::~Stack() {
  while (!layers_.empty()) layers_.pop_back();  // each before the one that it refers to
}

}  // namespace rdmafs
