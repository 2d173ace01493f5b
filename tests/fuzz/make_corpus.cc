// Writes the seeds of stream_fuzz: make_corpus tests/fuzz/corpus/stream_fuzz
#include <fcntl.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/fuzz/requests.h"
#include "tests/fuzz/served_stream.h"

namespace rdmafs::server {
namespace {

void Write(const std::filesystem::path& path, const std::string& content) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << content;
}

void WriteSeeds(const std::filesystem::path& directory) {
  ServedStream server;
  const wire::FileHandle root = server.RootHandle();
  wire::CreateRequest create;
  create.parent = root;
  create.name = "new";
  create.open_id = 1;
  create.flags = O_RDWR | O_CREAT;
  create.mode = 0600;
  std::byte space[wire::kMaxBodyBytes];
  const std::string opening = ServedStream::Message(wire::Opcode::kCreate, 0, 1,
                                                    wire::Encode(create, absl::MakeSpan(space)));
  for (size_t number = 0; number < std::tuple_size_v<wire::Requests>; ++number) {
    wire::VisitRequest(number, [&](auto request) {
      wire::PlausibleFields fields(root);
      request.Code(fields);
      absl::Span<const std::byte> body = wire::Encode(request, absl::MakeSpan(space));
      const std::string name = wire::OpcodeName(request.kOpcode);
      Write(directory / name,
            opening + ServedStream::Message(request.kOpcode, 1, 1, body) +
                ServedStream::Message(request.kOpcode, 2, 1, body, "payload"));
    });
  }
  server.StopServer();
}

}  // namespace
}  // namespace rdmafs::server

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  rdmafs::server::WriteSeeds(argv[1]);
  return 0;
}
