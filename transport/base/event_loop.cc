#include "transport/base/event_loop.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>

namespace rdmafs {
namespace {

constexpr int kEventsPerRound = 64;
// While there is work without them, descriptors are looked at once in so many rounds: that takes a
// system call.
constexpr int kRoundsPerLook = 4;

// For epoll_wait(2): rounded up, -1 for no end.
int Milliseconds(Nanoseconds wait) {
  if (wait < 0) return -1;
  return static_cast<int>(std::min<Nanoseconds>((wait + kMillisecond - 1) / kMillisecond, 1 << 30));
}

uint64_t ThisThread() { return static_cast<uint64_t>(pthread_self()); }

}  // namespace

EventLoop::EventLoop(const Clock& clock, Options options)
    : clock_(clock),
      options_(options),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  CHECK(epoll_.valid() && wake_.valid());
  CHECK(Add(wake_.get(), EPOLLIN, [this](uint32_t) {
          uint64_t count;
          [[maybe_unused]] ssize_t n = ::read(wake_.get(), &count, sizeof count);
        }).ok());
}

EventLoop::~EventLoop() = default;

Errno EventLoop::Add(int fd, uint32_t events, Callback callback) {
  auto watch = std::make_shared<Watch>(Watch{std::move(callback), next_generation_++});
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return Errno(errno);
  watches_[fd] = std::move(watch);
  return kOk;
}

Errno EventLoop::Modify(int fd, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  return epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0 ? kOk : Errno(errno);
}

void EventLoop::Remove(int fd) {
  if (watches_.erase(fd) != 0) epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

EventLoop::TimerId EventLoop::At(Nanoseconds when, Task task) {
  TimerId id = next_timer_++;
  timers_.emplace(when, std::make_pair(id, std::move(task)));
  timer_times_[id] = when;
  return id;
}

void EventLoop::Cancel(TimerId id) {
  auto found = timer_times_.find(id);
  if (found == timer_times_.end()) return;
  auto [first, last] = timers_.equal_range(found->second);
  for (auto it = first; it != last; ++it) {
    if (it->second.first == id) {
      timers_.erase(it);
      break;
    }
  }
  timer_times_.erase(found);
}

void EventLoop::Post(Task task) {
  absl::MutexLock lock(&mutex_);
  if (stopped_.load(std::memory_order_relaxed)) return;
  posted_.push_back(std::move(task));
  // Under the lock: as soon as the task can run, the loop may be at its end.
  if (!std::exchange(woken_, true)) Wake();
}

void EventLoop::Wake() {
  uint64_t one = 1;
  [[maybe_unused]] ssize_t n = ::write(wake_.get(), &one, sizeof one);
}

void EventLoop::AddPoller(CompletionPoller* poller) { pollers_.push_back(poller); }

void EventLoop::RemovePoller(CompletionPoller* poller) {
  // Leaves a hole: a poller may go away while the list is walked.
  std::replace(pollers_.begin(), pollers_.end(), poller, static_cast<CompletionPoller*>(nullptr));
}

void EventLoop::Run() {
  thread_.store(ThisThread(), std::memory_order_relaxed);
  while (RunOnce(-1)) {
  }
  thread_.store(0, std::memory_order_relaxed);
}

bool EventLoop::RunOnce(Nanoseconds max_wait) {
  if (stopped_.load(std::memory_order_acquire)) return false;
  bool progress = RunPosted();
  progress |= RunTimers();
  progress |= PollCompletions();
  RunDeferred();
  if (progress && ++rounds_without_look_ < kRoundsPerLook)
    return !stopped_.load(std::memory_order_acquire);
  // Pollers are asked once more after a look: what was just sent may be answered by then.
  const bool sleep = !progress && (rounds_without_look_ == 0 || pollers_.empty());
  rounds_without_look_ = 0;
  Nanoseconds wait = sleep ? WaitTime(max_wait) : 0;
  if (wait != 0) {
    for (size_t i = 0; i < pollers_.size(); ++i) {
      if (pollers_[i] != nullptr && pollers_[i]->Arm()) wait = 0;
    }
    RunDeferred();
  }
  WaitAndDispatch(wait);
  RunDeferred();
  return !stopped_.load(std::memory_order_acquire);
}

void EventLoop::WaitAndDispatch(Nanoseconds wait) {
  if (sleeper_ != nullptr) {
    if (!sleeper_->Sleep(wait)) return;
    wait = 0;
  }
  std::array<epoll_event, kEventsPerRound> events;
  int count = epoll_wait(epoll_.get(), events.data(), kEventsPerRound, Milliseconds(wait));
  // A descriptor that an earlier callback of this round removed and another took over the number of
  // has a newer generation: its stale event is left out.
  const uint64_t round_generation = next_generation_;
  for (int i = 0; i < count; ++i) {
    auto found = watches_.find(events[i].data.fd);
    if (found == watches_.end() || found->second->generation >= round_generation) continue;
    std::shared_ptr<Watch> watch = found->second;
    watch->callback(events[i].events);
  }
}

bool EventLoop::RunPosted() {
  std::vector<Task> tasks;
  {
    absl::MutexLock lock(&mutex_);
    tasks.swap(posted_);
    woken_ = false;
  }
  for (Task& task : tasks) task();
  return !tasks.empty();
}

bool EventLoop::RunTimers() {
  bool any = false;
  if (timers_.empty()) return false;
  const Nanoseconds now = clock_.Now();
  while (!timers_.empty() && timers_.begin()->first <= now) {
    auto [id, task] = std::move(timers_.begin()->second);
    timers_.erase(timers_.begin());
    timer_times_.erase(id);
    task();
    any = true;
  }
  return any;
}

void EventLoop::RunDeferred() {
  // A deferred task may defer another; bounded because each sends what it has and defers no more.
  for (size_t i = 0; i < deferred_.size(); ++i) {
    Task task = std::move(deferred_[i]);
    task();
  }
  deferred_.clear();
}

bool EventLoop::PollCompletions() {
  if (pollers_.empty()) return false;
  std::erase(pollers_, nullptr);
  const Nanoseconds deadline = options_.busy_poll > 0 ? clock_.Now() + options_.busy_poll : 0;
  while (true) {
    bool progress = false, busy = false;
    for (size_t i = 0; i < pollers_.size(); ++i) {
      if (pollers_[i] != nullptr && pollers_[i]->Poll()) progress = true;
      if (pollers_[i] != nullptr && pollers_[i]->Busy()) busy = true;
    }
    if (progress || !busy || clock_.Now() >= deadline) return progress;
  }
}

Nanoseconds EventLoop::WaitTime(Nanoseconds max_wait) const {
  if (timers_.empty()) return max_wait;
  const Nanoseconds until = std::max<Nanoseconds>(0, timers_.begin()->first - clock_.Now());
  return max_wait < 0 ? until : std::min(max_wait, until);
}

void EventLoop::Stop() {
  stopped_.store(true, std::memory_order_release);
  Wake();
}

bool EventLoop::InLoopThread() const {
  uint64_t thread = thread_.load(std::memory_order_relaxed);
  return thread == 0 || thread == ThisThread();
}

}  // namespace rdmafs
