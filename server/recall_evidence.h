// What a call that must not be done twice finds before it is done: noted, so that the next process
// can tell whether it was, when this one ends in the middle of it.
#pragma once

#include "server/call.h"
#include "server/recall_log.h"

namespace rdmafs::server {

// RecallRecord::evidence
enum RecallEvidence : uint16_t {
  kFirstKnown = 1 << 0,   // `first` is what the (first) name stood for, empty: nothing
  kSecondKnown = 1 << 1,  // the same of a rename's other name
  kSizeKnown = 1 << 2,    // `first` is the file's handle, `file_size` its size
};
// Of what is appended, all is noted, or so much of both ends.
inline constexpr size_t kRecallSampleBytes = 512;

// Before the call is done: its request, and what it will change. Worker thread.
void NoteBegin(Call& call, RecallRecord& record);
// After it: its answer.
void NoteEnd(const Call& call, RecallRecord& record);

}  // namespace rdmafs::server
