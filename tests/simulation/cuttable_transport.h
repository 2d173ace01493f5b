// CuttableTransport: connections over another transport that can be cut at any moment.
#pragma once

#include <vector>

#include "transport/connection.h"

namespace rdmafs::simulation {

class CuttableConnection;

// Connect() may be called by any of the simulation's threads; they take turns.
class CuttableTransport final : public Transport {
 public:
  explicit CuttableTransport(Transport& inner) : inner_(inner) {}

  std::string_view name() const override { return inner_.name(); }
  absl::Status Available() const override { return inner_.Available(); }
  absl::StatusOr<std::unique_ptr<Connection>> Connect(const Endpoint& peer,
                                                      const ConnectionOptions& options) override;
  absl::StatusOr<std::unique_ptr<Listener>> Listen(const Endpoint& endpoint,
                                                   const ConnectionOptions& options,
                                                   EventLoop& loop,
                                                   AcceptFunction accept) override {
    return inner_.Listen(endpoint, options, loop, std::move(accept));
  }
  MemoryRegionCache::Statistics memory_statistics() const override { return {}; }

  size_t count() const { return connections_.size(); }
  // What was sent and has not arrived is lost.
  void Cut(size_t index);
  // No connection comes about from now on, or again.
  void set_unplugged(bool unplugged) { unplugged_ = unplugged; }

 private:
  friend class CuttableConnection;
  Transport& inner_;
  std::vector<CuttableConnection*> connections_;
  bool unplugged_ = false;
};

class CuttableConnection final : public Connection, private ConnectionHandler {
 public:
  CuttableConnection(CuttableTransport& transport, std::unique_ptr<Connection> inner)
      : transport_(transport), inner_(std::move(inner)) {
    credits_ = inner_->credits();
    transport_.connections_.push_back(this);
  }
  ~CuttableConnection() override { std::erase(transport_.connections_, this); }

  std::string_view transport_name() const override { return inner_->transport_name(); }
  std::string peer() const override { return inner_->peer(); }
  void Start(EventLoop& loop, ConnectionHandler& handler) override {
    handler_ = &handler;
    inner_->Start(loop, *this);
  }
  Errno Post(Outgoing message) override { return inner_->Post(std::move(message)); }
  void Pull(const ReceivedMessage& request, absl::Span<std::byte> destination, Buffer hold,
            Reply<Pulled> reply) override {
    inner_->Pull(request, destination, std::move(hold), std::move(reply));
  }
  void Close(absl::Status reason) override { inner_->Close(std::move(reason)); }

 private:
  void OnMessage(Connection&, ReceivedMessage message) override {
    handler_->OnMessage(*this, std::move(message));
  }
  void OnClosed(Connection&, const absl::Status& reason) override {
    const absl::Status why = reason;
    handler_->OnClosed(*this, why);
  }

  CuttableTransport& transport_;
  const std::unique_ptr<Connection> inner_;
  ConnectionHandler* handler_ = nullptr;
};

inline absl::StatusOr<std::unique_ptr<Connection>> CuttableTransport::Connect(
    const Endpoint& peer, const ConnectionOptions& options) {
  if (unplugged_) return absl::UnavailableError("unplugged");
  auto inner = inner_.Connect(peer, options);
  if (!inner.ok()) return inner.status();
  return std::make_unique<CuttableConnection>(*this, std::move(*inner));
}

inline void CuttableTransport::Cut(size_t index) {
  connections_[index]->Close(absl::UnavailableError("cut"));
}

}  // namespace rdmafs::simulation
