#include "client/library/mapping_watch.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

#include "absl/time/clock.h"
#include "client/library/mappings.h"

namespace rdmafs::library {
namespace {

constexpr AddressRange kEverything{0, UINTPTR_MAX};

AddressRange PagesOf(absl::Span<const std::byte> memory) {
  static const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t begin = reinterpret_cast<uintptr_t>(memory.data());
  return {begin & ~(page - 1), (begin + memory.size() + page - 1) & ~(page - 1)};
}

}  // namespace

absl::StatusOr<std::unique_ptr<MappingWatch>> MappingWatch::Create(const Clock& clock,
                                                                   Forget forget) {
  auto userfault = Userfault::Open();
  if (!userfault.ok()) return userfault.status();
  std::unique_ptr<MappingWatch> made(
      new MappingWatch(clock, std::move(forget), *std::move(userfault)));
  if (!made->stop_.valid()) return absl::ResourceExhaustedError("eventfd(2): no descriptor");
  made->thread_ = std::thread([watch = made.get()] { watch->Run(); });
  return made;
}

MappingWatch::MappingWatch(const Clock& clock, Forget forget, std::unique_ptr<Userfault> userfault)
    : clock_(clock),
      forget_(std::move(forget)),
      userfault_(std::move(userfault)),
      stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

// A child that was forked may still have the descriptor: what stays registered would then make the
// parent wait for events that no one takes. So nothing does.
MappingWatch::~MappingWatch() {
  if (!thread_.joinable()) return;
  AddressRange range;
  for (;;) {
    {
      absl::MutexLock lock(&mutex_);
      if (ranges_.ranges().empty()) break;
      range = ranges_.ranges().back();
      (void)ranges_.Remove(range);
    }
    userfault_->Unwatch(range);
  }
  const uint64_t one = 1;
  (void)!::write(stop_.get(), &one, sizeof one);
  thread_.join();
}

// --- The thread that takes events ---

void MappingWatch::Run() {
  pollfd fds[] = {{userfault_->fd(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
  for (;;) {
    if (::poll(fds, 2, -1) < 0) continue;
    if (fds[1].revents != 0) return;
    // Taking an event sets its causer free: whoever asks from then on finds it noted.
    absl::MutexLock lock(&mutex_);
    MappingChange changes[2];
    while (const int count = userfault_->Take(changes)) {
      for (int i = 0; i < count; ++i) Note(changes[i]);
    }
  }
}

void MappingWatch::Note(const MappingChange& change) {
  using Kind = MappingChange::Kind;
  ++change_count_;
  NoteStale(change.range);
  switch (change.kind) {
    case Kind::kGone:
      if (const AddressRange lost = ranges_.Remove(change.range); !lost.empty())
        userfault_->Unwatch(lost);
      break;
    case Kind::kMoved:
      if (!ranges_.Add(change.range)) userfault_->Unwatch(change.range);
      break;
    case Kind::kDiscarded:
      NoteDiscarded(change.range);
      break;
  }
}

void MappingWatch::NoteStale(AddressRange range) {
  is_stale_ = true;
  if (pending_count_ == pending_.size()) {
    pending_[0] = kEverything;
    pending_count_ = 1;
    return;
  }
  pending_[pending_count_++] = range;
}

// Where there is no place left, the one that expires first grows to hold this one, too.
void MappingWatch::NoteDiscarded(AddressRange range) {
  const Nanoseconds now = clock_.Now();
  Discarded& place = *std::min_element(
      discarded_.begin(), discarded_.end(),
      [](const Discarded& a, const Discarded& b) { return a.until < b.until; });
  if (place.until > now) {
    range.begin = std::min(range.begin, place.range.begin);
    range.end = std::max(range.end, place.range.end);
  }
  place = {range, now + kDiscardTime};
}

// --- Callers ---

bool MappingWatch::Stands(absl::Span<std::byte> memory) {
  const AddressRange pages = PagesOf(memory);
  if (pages.empty() || !Settle()) return false;
  for (;;) {
    uint64_t change_count = 0;
    switch (Judge(pages, change_count)) {
      case Verdict::kStands: return true;
      case Verdict::kNever: return false;
      case Verdict::kNotWatched: return Begin(pages, change_count);
      case Verdict::kChanged: ForgetStale();
    }
  }
}

// Waits for the events of changes that are over to be taken. Their causers have to run for that, so
// it is a matter of microseconds; it is not waited for longer than some 20 ms.
bool MappingWatch::Settle() const {
  for (int i = 0; i < 1000; ++i) {
    if (!userfault_->IsChanging()) return true;
    if (i < 20) {
      std::this_thread::yield();
    } else {
      absl::SleepFor(absl::Microseconds(20));
    }
  }
  return false;
}

MappingWatch::Verdict MappingWatch::Judge(AddressRange pages, uint64_t& change_count) {
  absl::MutexLock lock(&mutex_);
  if (is_stale_) return Verdict::kChanged;
  for (const Discarded& discarded : discarded_) {
    if (discarded.range.Touches(pages) && discarded.until > clock_.Now()) return Verdict::kNever;
  }
  if (ranges_.Contains(pages)) return Verdict::kStands;
  if (ranges_.ranges().size() == kMaxRanges) return Verdict::kNever;
  change_count = change_count_;
  return Verdict::kNotWatched;
}

void MappingWatch::ForgetStale() {
  absl::MutexLock forgetting(&forgetting_);
  Pending stale;
  size_t count;
  {
    absl::MutexLock lock(&mutex_);
    stale = pending_;
    count = pending_count_;
    pending_count_ = 0;
  }
  for (size_t i = 0; i < count; ++i) {
    forget_(absl::MakeSpan(reinterpret_cast<std::byte*>(stale[i].begin),
                           stale[i].end - stale[i].begin));
  }
  absl::MutexLock lock(&mutex_);
  is_stale_ = pending_count_ != 0;
}

// What changes while it is being registered is watched, and not trusted this time.
bool MappingWatch::Begin(AddressRange pages, uint64_t change_count) {
  if (!IsPrivateAnonymous(pages) || !userfault_->Watch(pages)) return false;
  absl::MutexLock lock(&mutex_);
  return change_count == change_count_ && ranges_.Add(pages);
}

MappingWatch::Statistics MappingWatch::statistics() const {
  absl::MutexLock lock(&mutex_);
  return {ranges_.ranges().size(), ranges_.size_bytes(), change_count_};
}

}  // namespace rdmafs::library
