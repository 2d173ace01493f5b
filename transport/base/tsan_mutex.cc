// Tells ThreadSanitizer what absl's locks order: the distribution's libabsl is not compiled with
// it, and so every access that a mutex guards would look like a race. Part of builds with
// -fsanitize=thread only.
//
// A condition that a thread waits for is not only asked by that thread: whoever unlocks the mutex
// asks it too, inside Unlock() and still holding the lock, to find out whom to wake. So Eval() is an
// access under the lock like any other, later than the release that Unlock() announced.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "transport/base/check.h"

namespace {

// The library's function of the same name as the one at `ours`, which shadows it.
template <typename Function>
Function* Next(void* ours) {
  Dl_info found{};
  CHECK(dladdr(ours, &found) != 0 && found.dli_sname != nullptr);
  void* next = dlsym(RTLD_NEXT, found.dli_sname);
  CHECK(next != nullptr && next != ours);
  return reinterpret_cast<Function*>(next);
}

// A member function's address as dladdr(3) wants it. In the Itanium ABI a pointer to a non-virtual
// member begins with it, and such a member is called like a function with `this` in front.
template <typename Member>
void* AddressOf(Member member) {
  void* address = nullptr;
  static_assert(sizeof member >= sizeof address);
  __builtin_memcpy(&address, &member, sizeof address);
  return address;
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

#define RDMAFS_NEXT(type, member) static auto* const next = Next<type>(AddressOf(member))

namespace absl {
ABSL_NAMESPACE_BEGIN

void Mutex::Lock() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  RDMAFS_NEXT(void(Mutex*), &Mutex::Lock);
  next(this);
  __tsan_acquire(this);
}
void Mutex::Unlock() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  RDMAFS_NEXT(void(Mutex*), &Mutex::Unlock);
  const AsksConditionsOf asks(this);
  __tsan_release(this);
  next(this);
}
bool Mutex::TryLock() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  RDMAFS_NEXT(bool(Mutex*), &Mutex::TryLock);
  const bool locked = next(this);
  if (locked) __tsan_acquire(this);
  return locked;
}
void Mutex::ReaderLock() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  RDMAFS_NEXT(void(Mutex*), &Mutex::ReaderLock);
  next(this);
  __tsan_acquire(this);
}
void Mutex::ReaderUnlock() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  RDMAFS_NEXT(void(Mutex*), &Mutex::ReaderUnlock);
  const AsksConditionsOf asks(this);
  __tsan_release(this);
  next(this);
}
void Mutex::Await(const Condition& condition) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  RDMAFS_NEXT(void(Mutex*, const Condition&), &Mutex::Await);
  const AsksConditionsOf asks(this);
  __tsan_release(this);
  next(this, condition);
  __tsan_acquire(this);
}
bool Mutex::AwaitWithTimeout(const Condition& condition,
                             Duration timeout) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  RDMAFS_NEXT(bool(Mutex*, const Condition&, Duration), &Mutex::AwaitWithTimeout);
  const AsksConditionsOf asks(this);
  __tsan_release(this);
  const bool result = next(this, condition, timeout);
  __tsan_acquire(this);
  return result;
}
bool Mutex::AwaitWithDeadline(const Condition& condition,
                              Time deadline) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  RDMAFS_NEXT(bool(Mutex*, const Condition&, Time), &Mutex::AwaitWithDeadline);
  const AsksConditionsOf asks(this);
  __tsan_release(this);
  const bool result = next(this, condition, deadline);
  __tsan_acquire(this);
  return result;
}
bool Condition::Eval() const {
  RDMAFS_NEXT(bool(const Condition*), &Condition::Eval);
  void* const mutex = conditions_of;
  if (mutex != nullptr) __tsan_acquire(mutex);
  const bool result = next(this);
  if (mutex != nullptr) __tsan_release(mutex);
  return result;
}
void CondVar::Wait(Mutex* mutex) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  RDMAFS_NEXT(void(CondVar*, Mutex*), &CondVar::Wait);
  const AsksConditionsOf asks(mutex);
  __tsan_release(mutex);
  next(this, mutex);
  __tsan_acquire(mutex);
}
bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  RDMAFS_NEXT(bool(CondVar*, Mutex*, Duration), &CondVar::WaitWithTimeout);
  const AsksConditionsOf asks(mutex);
  __tsan_release(mutex);
  const bool result = next(this, mutex, timeout);
  __tsan_acquire(mutex);
  return result;
}
bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  RDMAFS_NEXT(bool(CondVar*, Mutex*, Time), &CondVar::WaitWithDeadline);
  const AsksConditionsOf asks(mutex);
  __tsan_release(mutex);
  const bool result = next(this, mutex, deadline);
  __tsan_acquire(mutex);
  return result;
}
void Notification::Notify() {
  RDMAFS_NEXT(void(Notification*), &Notification::Notify);
  __tsan_release(this);
  next(this);
}
void Notification::WaitForNotification() const {
  RDMAFS_NEXT(void(const Notification*), &Notification::WaitForNotification);
  next(this);
  __tsan_acquire(const_cast<Notification*>(this));
}
bool Notification::WaitForNotificationWithTimeout(Duration timeout) const {
  RDMAFS_NEXT(bool(const Notification*, Duration), &Notification::WaitForNotificationWithTimeout);
  const bool result = next(this, timeout);
  if (result) __tsan_acquire(const_cast<Notification*>(this));
  return result;
}

ABSL_NAMESPACE_END
}  // namespace absl
