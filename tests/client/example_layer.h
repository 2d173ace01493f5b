// The example of docs/read-ahead.md: a layer of ten lines that counts the bytes which were read.
#pragma once

#include "client/layer.h"
#include "client/reply_chain.h"

namespace rdmafs {

class CountingLayer final : public Layer {
 public:
  using Layer::Layer;
  void Read(ReadRequest request, Reply<Payload> reply) override {
    next().Read(std::move(request), reads_.Wrap(std::move(reply), [this](Result<Payload>& result) {
      if (result.ok()) bytes_ += result->bytes.size();
    }));
  }
  uint64_t bytes() const { return bytes_; }

 private:
  ReplyChain<Payload> reads_;
  uint64_t bytes_ = 0;
};

}  // namespace rdmafs
