// WithExtension: a ClientHello or ServerHello with another extension, as somebody on the way would
// write it.
#pragma once

#include <cstdint>
#include <string>

namespace rdmafs {

// `record`: of TLS; comes back as it is when there is no whole hello in it. An extension of that
// type is replaced, else one is put in front of the others, as a key must be the last (RFC
// 8446, 4.2.11). All sizes are right again.
std::string WithExtension(const std::string& record, uint16_t type, const std::string& content);

}  // namespace rdmafs
