// Fuzz target: the bytes that a client sends once it has attached, through a real server over TCP:
// framing, dispatcher, handlers. Any stream may end its own connection; the server has to go on.
#include "tests/fuzz/served_stream.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // As long as the process: the fuzzer has no end of its own to stop the server at.
  static auto* stream = new rdmafs::server::ServedStream();
  stream->Send(absl::MakeConstSpan(data, size));
  return 0;
}
