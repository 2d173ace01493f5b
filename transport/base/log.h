// Logging with levels, to syslog/journal or standard error.
#pragma once

#include <string_view>

#include "absl/strings/str_cat.h"

namespace rdmafs {

// The numbers are syslog(3)'s.
enum class LogLevel { kError = 3, kWarning = 4, kNotice = 5, kInformation = 6, kDebug = 7 };
enum class LogTarget { kStandardError, kSyslog };

// Call once at start, before threads exist. `program` must live as long as the process. On
// kStandardError under systemd (JOURNAL_STREAM set) each line carries its <level> prefix
// (sd-daemon(3)).
void OpenLog(const char* program, LogTarget target, LogLevel most_verbose);

// Whether a line of this level is written. Thread-safe.
bool LogEnabled(LogLevel level);

// Writes one line; control characters become '?'. Thread-safe; may block on the log's descriptor.
void LogLine(LogLevel level, std::string_view line);

namespace log_parts {
// Where absl::string_view is a type of its own, StrCat does not take std::string_view.
inline absl::string_view ForStrCat(std::string_view text) { return {text.data(), text.size()}; }
template <typename T>
const T& ForStrCat(const T& part) {
  return part;
}
}  // namespace log_parts

template <typename... Parts>
void Log(LogLevel level, const Parts&... parts) {
  if (LogEnabled(level)) LogLine(level, absl::StrCat(log_parts::ForStrCat(parts)...));
}

}  // namespace rdmafs
