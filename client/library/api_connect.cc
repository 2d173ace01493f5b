// Connecting, completions, memory, statistics: the part of <rdmafs/rdmafs.h> without files.
#include <algorithm>
#include <cstring>

#include "absl/strings/match.h"
#include "client/library/api.h"
#include "transport/base/log.h"

namespace rdmafs::library {
namespace {

absl::Status ParseSource(std::string_view source, Export::Options& options) {
  std::string_view host, rest;
  if (source.starts_with('[')) {
    const size_t end = source.find(']');
    if (end == std::string_view::npos)
      return absl::InvalidArgumentError("the bracket is not closed");
    host = source.substr(1, end - 1);
    rest = source.substr(end + 1);
  } else {
    const size_t colon = source.find(':');
    host = source.substr(0, colon);
    rest = colon == std::string_view::npos ? "" : source.substr(colon);
  }
  if (host.empty() || !rest.starts_with(":/"))
    return absl::InvalidArgumentError("the source is not HOST:DIR with an absolute DIR");
  options.server.host = std::string(host);
  options.directory = std::string(rest.substr(1));
  return absl::OkStatus();
}

absl::Status ParseOptions(const rdmafs_options& given, Export::Options& options) {
  const std::string_view transport = given.transport == nullptr ? "auto" : given.transport;
  if (transport == "tcp") {
    options.transport = TransportChoice::kTcp;
  } else if (transport == "rdma") {
    options.transport = TransportChoice::kRdma;
  } else if (transport != "auto") {
    return absl::InvalidArgumentError("transport is not auto, rdma or tcp");
  }
  const std::string_view mr_cache = given.mr_cache == nullptr ? "off" : given.mr_cache;
  if (mr_cache != "off" && mr_cache != "uffd")
    return absl::InvalidArgumentError("mr_cache is not off or uffd");
  options.watches_mappings = mr_cache == "uffd";
  const std::string_view mr = given.mr == nullptr ? "cache" : given.mr;
  if (mr != "cache" && mr != "window")
    return absl::InvalidArgumentError("mr is not cache or window");
  options.exposure = mr == "window" ? MemoryExposure::kWindow : MemoryExposure::kCache;
  if (given.port == 0 || given.port > 65535) return absl::InvalidArgumentError("no such port");
  if (given.threads > 64 || given.connections > 64)
    return absl::InvalidArgumentError("more than 64 threads or connections");
  options.server.port = static_cast<uint16_t>(given.port);
  options.threads = std::max(1u, given.threads);
  options.connections = static_cast<int>(std::max(1u, given.connections));
  if (given.pool_bytes < options.threads * (uint64_t{4} << 20))
    return absl::InvalidArgumentError("pool_bytes: 4 MiB for each thread are needed");
  options.pool_bytes = given.pool_bytes;
  options.timeout = given.timeout_ms * kMillisecond;
  if (given.key_file != nullptr) {
    options.key = KeyOfFile(given.key_file, given.key_name == nullptr ? "" : given.key_name);
  }
  const auto text = [](const char* given_text) {
    return std::string(given_text == nullptr ? "" : given_text);
  };
  options.tls = {given.tls != 0, false, text(given.ca_file), text(given.cert_file),
                 text(given.cert_key_file)};
  if (absl::Status tls = options.tls.Check(given.key_file != nullptr); !tls.ok()) return tls;
  if (options.tls.on && options.transport == TransportChoice::kRdma)
    return absl::InvalidArgumentError("tls is spoken over TCP, and transport is rdma");
  options.read_ahead.mode = given.read_ahead != 0 ? ReadAheadMode::kOn : ReadAheadMode::kOff;
  options.read_ahead.max_window_bytes = std::max<uint64_t>(given.ra_max, 16 * 1024);
  options.read_ahead.max_total_bytes = std::max<uint64_t>(given.ra_total, wire::kMaxPayloadBytes);
  return absl::OkStatus();
}

int ErrorOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument: return EINVAL;
    case absl::StatusCode::kPermissionDenied: return EACCES;
    case absl::StatusCode::kNotFound: return ENOENT;
    case absl::StatusCode::kDeadlineExceeded: return ETIMEDOUT;
    case absl::StatusCode::kResourceExhausted: return ENOMEM;
    case absl::StatusCode::kFailedPrecondition: return EPROTONOSUPPORT;
    default: return ENOTCONN;
  }
}

}  // namespace

rdmafs_fs* ConnectWith(const char* source, const rdmafs_options* options,
                       const TransportFactory& make_transports, int* error, std::string* why) {
  // A library says nothing on a program's standard error but what went wrong.
  OpenLog("librdmafs", LogTarget::kStandardError, LogLevel::kError);
  rdmafs_options given;
  rdmafs_options_init(&given);
  // A program that was compiled when there were fewer options gets the defaults of the others.
  if (options != nullptr) std::memcpy(&given, options, std::min(options->size, sizeof given));
  Export::Options parsed;
  absl::Status status = ParseSource(source == nullptr ? "" : source, parsed);
  if (status.ok()) status = ParseOptions(given, parsed);
  if (status.ok()) {
    auto connected = Export::Connect(parsed, make_transports);
    if (connected.ok()) return new rdmafs_fs{*std::move(connected)};
    status = connected.status();
  }
  *error = ErrorOf(status);
  *why = std::string(status.message());
  return nullptr;
}

}  // namespace rdmafs::library

using rdmafs::library::Export;

void rdmafs_options_init(rdmafs_options* options) {
  *options = {};
  options->size = sizeof *options;
  options->transport = "auto";
  options->mr_cache = "off";
  options->mr = "cache";
  options->port = 20490;
  options->connections = 4;
  options->pool_bytes = uint64_t{64} << 20;
  options->ra_max = uint64_t{8} << 20;
  options->ra_total = uint64_t{32} << 20;
}

int rdmafs_connect(const char* source, const rdmafs_options* options, rdmafs_fs** fs, char* why,
                   size_t why_size) {
  int error = 0;
  std::string text;
  *fs =
      rdmafs::library::ConnectWith(source, options, rdmafs::library::MakeTransports, &error, &text);
  if (*fs != nullptr) return 0;
  if (why != nullptr && why_size != 0) {
    const size_t size = std::min(text.size(), why_size - 1);
    std::memcpy(why, text.data(), size);
    why[size] = 0;
  }
  return -error;
}

int rdmafs_disconnect(rdmafs_fs* fs) {
  if (!fs->export_->OfThisProcess()) return -ECHILD;
  if (fs->export_->PendingCount() != 0) return -EBUSY;
  delete fs;
  return 0;
}

int rdmafs_event_fd(rdmafs_fs* fs) { return fs->export_->completions().event_fd(); }

int rdmafs_process(rdmafs_fs* fs, int max) {
  if (!fs->export_->OfThisProcess()) return -ECHILD;
  return fs->export_->completions().Process(max);
}

int rdmafs_register(rdmafs_fs* fs, void* data, size_t length, int directions) {
  if (!fs->export_->OfThisProcess()) return -ECHILD;
  return -fs->export_->memory()
              .Register({static_cast<std::byte*>(data), length}, directions)
              .value();
}

int rdmafs_unregister(rdmafs_fs* fs, void* data, size_t length) {
  if (!fs->export_->OfThisProcess()) return -ECHILD;
  return -fs->export_->memory().Unregister({static_cast<std::byte*>(data), length}).value();
}

int rdmafs_buffer_consumed(rdmafs_fs* fs, const rdmafs_buffer* buffer) {
  if (!fs->export_->OfThisProcess()) return -ECHILD;
  const rdmafs::Errno error = fs->export_->buffers().Consume(buffer->id);
  if (!error.ok()) {
    rdmafs::Log(rdmafs::LogLevel::kError, "rdmafs_buffer_consumed: buffer ", buffer->id,
                " is not the program's to give back");
  }
  return -error.value();
}

void rdmafs_get_statistics(rdmafs_fs* fs, rdmafs_statistics* statistics, size_t size) {
  rdmafs_statistics all{};
  if (fs->export_->OfThisProcess()) fs->export_->Describe(all);
  std::memset(statistics, 0, size);
  std::memcpy(statistics, &all, std::min(size, sizeof all));
}

const char* rdmafs_transport(rdmafs_fs* fs) { return fs->export_->transport_name().c_str(); }

const char* rdmafs_version(void) { return RDMAFS_VERSION; }
