// Reply<T>: the completion of an asynchronous operation, called exactly once.
#pragma once

#include <utility>

#include "transport/base/errno.h"
#include "transport/base/unique_function.h"

namespace rdmafs {

// Carries a Result<T> to whoever asked. Complete() may be called once, on the thread that owns the
// asker (its shard), and never while a lock is held. A Reply that is destroyed unanswered answers
// EIO: a caller can be told of a failure, but never be left hanging.
template <typename T>
class Reply {
 public:
  using Function = UniqueFunction<void(Result<T>), 48>;

  Reply() = default;
  template <typename F,
            typename = std::enable_if_t<!std::is_same_v<std::decay_t<F>, Reply> &&
                                        std::is_invocable_v<std::decay_t<F>&, Result<T>>>>
  Reply(F&& function) : function_(std::forward<F>(function)) {}  // NOLINT: implicit by design
  Reply(Reply&&) noexcept = default;
  Reply& operator=(Reply&& other) noexcept {
    Abandon();
    function_ = std::move(other.function_);
    return *this;
  }
  ~Reply() { Abandon(); }

  // Whether an answer is still owed.
  explicit operator bool() const { return static_cast<bool>(function_); }

  void Complete(Result<T> result) {
    DCHECK(function_);
    Function function = std::move(function_);
    function(std::move(result));
  }
  void operator()(Result<T> result) { Complete(std::move(result)); }

 private:
  void Abandon() {
    if (function_) Complete(Errno(EIO));
  }

  Function function_;
};

}  // namespace rdmafs
