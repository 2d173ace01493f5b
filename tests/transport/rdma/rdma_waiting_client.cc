// A client process for a test to kill: connects to the port given, makes one call, and waits.
#include <cstdlib>

#include "tests/transport/rdma/rdma_peers.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  rdmafs::Side side;
  rdmafs::TestClient client(side);
  const auto port = static_cast<uint16_t>(std::atoi(argv[1]));
  if (!client.Connect({rdmafs::TestAddress(), port}).ok()) return 3;
  if (!client.connection().Post(rdmafs::TestClient::Call(rdmafs::kKeep, 0, 1)).ok()) return 4;
  client.RunUntilClosed();
  return 5;
}
