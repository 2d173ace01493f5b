// What the handles of <rdmafs/rdmafs.h> are made of, and how its functions start operations.
#pragma once

#include <memory>
#include <string>

#include "client/library/export.h"
#include "client/library/path_walk.h"
#include "client/library/transfer.h"

struct rdmafs_fs {
  std::unique_ptr<rdmafs::library::Export> export_;
};
struct rdmafs_node {
  rdmafs::library::Export& owner;
  rdmafs::Entry entry;
};
struct rdmafs_file {
  rdmafs::library::OpenFile open;
};

namespace rdmafs::library {

void ToStat(const Attributes& attributes, struct stat& out);

// As rdmafs_connect(), over these transports. nullptr on an error.
rdmafs_fs* ConnectWith(const char* source, const rdmafs_options* options,
                       const TransportFactory& make_transports, int* error, std::string* why);

// Ends an operation that has no other result.
inline Reply<Unit> UnitReply(Finish finish) {
  return [finish](Result<Unit> result) { finish(result.error()); };
}

// Ends what is open, at the server.
inline int64_t Release(OpenFile& file) {
  return file.owner.Run(file.shard, nullptr,
                        [id = file.id](FileSystem& file_system, Finish finish) {
                          file_system.Release(id, UnitReply(finish));
                        });
}

// Starts an operation of an open file; the file cannot be closed before its end.
template <typename Operation>
int64_t RunOn(OpenFile& file, rdmafs_call* call, Operation operation) {
  if (!file.owner.OfThisProcess()) return -ECHILD;
  ++file.operation_count;
  return file.owner.Run(file.shard, call, std::move(operation));
}

// Walks `path`, then calls next(FileSystem&, Found, Finish).
template <typename Next>
int64_t RunAt(Export& owner, const char* path, WalkEnd end, rdmafs_call* call, Next next) {
  if (path == nullptr) return -EINVAL;
  if (!owner.OfThisProcess()) return -ECHILD;
  auto operation = [&owner, path = std::string(path), end, next = std::move(next)](
                       FileSystem& file_system, Finish finish) mutable {
    PathWalk::Start(file_system, owner.caller(), owner.root(), path, end,
                    [&file_system, finish, next = std::move(next)](Result<Found> found) mutable {
                      if (!found.ok()) return finish(found.error());
                      next(file_system, *std::move(found), finish);
                    });
  };
  return owner.Run(owner.NextShard(), call, std::move(operation));
}

}  // namespace rdmafs::library
