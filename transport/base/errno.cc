#include "transport/base/errno.h"

#include <cstring>

namespace rdmafs {

std::string Errno::ToString() const {
  if (ok()) return "OK";
  const char* name = strerrorname_np(value_);
  const char* text = strerrordesc_np(value_);
  return std::string(name ? name : "E?") + ": " + (text ? text : "unknown error");
}

}  // namespace rdmafs
