// Tells ThreadSanitizer what absl's locks order: the distribution's libabsl is not compiled with
// it, and so every access that a mutex guards would look like a race. Part of builds with
// -fsanitize=thread only.
//
// A condition that a thread waits for is not only asked by that thread: whoever unlocks the mutex
// asks it too, inside Unlock() and still holding the lock, to find out whom to wake. So Eval() is
// an access under the lock like any other, later than the release that Unlock() announced.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include <cstdio>
#include <string_view>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "transport/base/check.h"

namespace {

#define RDMAFS_TEXT_OF(name) #name
#define RDMAFS_TEXT(name) RDMAFS_TEXT_OF(name)

// The library's function that one of ours shadows: a member of absl's inline namespace, and `name`
// behind that as the Itanium ABI mangles it. (dladdr(3) does not know ours inside librdmafs, which
// shows nothing but its interface.) Such a member is called like a function with `this` in front.
template <typename Function>
Function* Next(const char* name, bool is_const = false) {
  constexpr std::string_view inside = RDMAFS_TEXT(ABSL_OPTION_INLINE_NAMESPACE_NAME);
  char symbol[160];
  std::snprintf(symbol, sizeof symbol, "_ZN%s4absl%zu%s%s", is_const ? "K" : "", inside.size(),
                inside.data(), name);
  void* next = dlsym(RTLD_NEXT, symbol);
  CHECK(next != nullptr);
  return reinterpret_cast<Function*>(next);
}

// The mutex that this thread is inside a call of, where conditions may be asked.
thread_local void* conditions_of = nullptr;

class AsksConditionsOf {
 public:
  explicit AsksConditionsOf(void* mutex) : before_(conditions_of) { conditions_of = mutex; }
  ~AsksConditionsOf() { conditions_of = before_; }

 private:
  void* const before_;
};

}  // namespace

#define RDMAFS_NEXT(type, ...) static auto* const next = Next<type>(__VA_ARGS__)

namespace absl {
ABSL_NAMESPACE_BEGIN

void Mutex::Lock() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  RDMAFS_NEXT(void(Mutex*), "5Mutex4LockEv");
  next(this);
  __tsan_acquire(this);
}
void Mutex::Unlock() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  RDMAFS_NEXT(void(Mutex*), "5Mutex6UnlockEv");
  const AsksConditionsOf asks(this);
  __tsan_release(this);
  next(this);
}
bool Mutex::TryLock() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  RDMAFS_NEXT(bool(Mutex*), "5Mutex7TryLockEv");
  const bool locked = next(this);
  if (locked) __tsan_acquire(this);
  return locked;
}
void Mutex::ReaderLock() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  RDMAFS_NEXT(void(Mutex*), "5Mutex10ReaderLockEv");
  next(this);
  __tsan_acquire(this);
}
void Mutex::ReaderUnlock() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  RDMAFS_NEXT(void(Mutex*), "5Mutex12ReaderUnlockEv");
  const AsksConditionsOf asks(this);
  __tsan_release(this);
  next(this);
}
void Mutex::Await(const Condition& condition) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  RDMAFS_NEXT(void(Mutex*, const Condition&), "5Mutex5AwaitERKNS0_9ConditionE");
  const AsksConditionsOf asks(this);
  __tsan_release(this);
  next(this, condition);
  __tsan_acquire(this);
}
bool Mutex::AwaitWithTimeout(const Condition& condition,
                             Duration timeout) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  RDMAFS_NEXT(bool(Mutex*, const Condition&, Duration),
              "5Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE");
  const AsksConditionsOf asks(this);
  __tsan_release(this);
  const bool result = next(this, condition, timeout);
  __tsan_acquire(this);
  return result;
}
bool Mutex::AwaitWithDeadline(const Condition& condition,
                              Time deadline) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  RDMAFS_NEXT(bool(Mutex*, const Condition&, Time),
              "5Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE");
  const AsksConditionsOf asks(this);
  __tsan_release(this);
  const bool result = next(this, condition, deadline);
  __tsan_acquire(this);
  return result;
}
bool Condition::Eval() const {
  RDMAFS_NEXT(bool(const Condition*), "9Condition4EvalEv", /*is_const=*/true);
  void* const mutex = conditions_of;
  if (mutex != nullptr) __tsan_acquire(mutex);
  const bool result = next(this);
  if (mutex != nullptr) __tsan_release(mutex);
  return result;
}
void CondVar::Wait(Mutex* mutex) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  RDMAFS_NEXT(void(CondVar*, Mutex*), "7CondVar4WaitEPNS0_5MutexE");
  const AsksConditionsOf asks(mutex);
  __tsan_release(mutex);
  next(this, mutex);
  __tsan_acquire(mutex);
}
bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  RDMAFS_NEXT(bool(CondVar*, Mutex*, Duration),
              "7CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE");
  const AsksConditionsOf asks(mutex);
  __tsan_release(mutex);
  const bool result = next(this, mutex, timeout);
  __tsan_acquire(mutex);
  return result;
}
bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  RDMAFS_NEXT(bool(CondVar*, Mutex*, Time), "7CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE");
  const AsksConditionsOf asks(mutex);
  __tsan_release(mutex);
  const bool result = next(this, mutex, deadline);
  __tsan_acquire(mutex);
  return result;
}
void Notification::Notify() {
  RDMAFS_NEXT(void(Notification*), "12Notification6NotifyEv");
  __tsan_release(this);
  next(this);
}
void Notification::WaitForNotification() const {
  RDMAFS_NEXT(void(const Notification*), "12Notification19WaitForNotificationEv",
              /*is_const=*/true);
  next(this);
  __tsan_acquire(const_cast<Notification*>(this));
}
bool Notification::WaitForNotificationWithTimeout(Duration timeout) const {
  RDMAFS_NEXT(bool(const Notification*, Duration),
              "12Notification30WaitForNotificationWithTimeoutENS0_8DurationE", /*is_const=*/true);
  const bool result = next(this, timeout);
  if (result) __tsan_acquire(const_cast<Notification*>(this));
  return result;
}

ABSL_NAMESPACE_END
}  // namespace absl
