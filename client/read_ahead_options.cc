#include "client/read_ahead_options.h"

namespace rdmafs {

bool WantsReadAhead(ReadAheadMode mode, const ReadAheadSituation& situation) {
  if (mode != ReadAheadMode::kAuto) return mode == ReadAheadMode::kOn;
  if (!situation.kernel_reads_ahead) return true;
  const double seconds = static_cast<double>(situation.round_trip) / kSecond;
  const double carried = seconds * static_cast<double>(situation.bytes_per_second);
  return carried > static_cast<double>(situation.kernel_window_bytes);
}

}  // namespace rdmafs
