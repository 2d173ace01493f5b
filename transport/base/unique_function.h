// UniqueFunction: a move-only callable with room for its captures inside, so that a completion on
// the data path costs no allocation. Captures beyond the room go to the heap.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "transport/base/check.h"

namespace rdmafs {

template <typename Signature, size_t kRoomBytes = 48>
class UniqueFunction;

// Owned by one thread at a time. Calling an empty one is a programmer's error.
template <typename R, typename... Args, size_t kRoomBytes>
class UniqueFunction<R(Args...), kRoomBytes> {
 public:
  // Whether F is stored without an allocation; data-path code static_asserts it.
  template <typename F>
  static constexpr bool kFits = sizeof(F) <= kRoomBytes && alignof(F) <= alignof(void*) &&
                                std::is_nothrow_move_constructible_v<F>;

  UniqueFunction() = default;
  UniqueFunction(std::nullptr_t) {}  // NOLINT: implicit by design

  template <typename F,
            typename = std::enable_if_t<!std::is_same_v<std::decay_t<F>, UniqueFunction> &&
                                        std::is_invocable_r_v<R, std::decay_t<F>&, Args...>>>
  UniqueFunction(F&& function) {  // NOLINT: implicit by design
    using D = std::decay_t<F>;
    if constexpr (kFits<D>) {
      ::new (room_) D(std::forward<F>(function));
      invoke_ = [](void* room, Args... args) -> R {
        return (*std::launder(reinterpret_cast<D*>(room)))(std::forward<Args>(args)...);
      };
      move_ = [](void* from, void* to) {
        D* source = std::launder(reinterpret_cast<D*>(from));
        if (to != nullptr) ::new (to) D(std::move(*source));
        source->~D();
      };
    } else {
      *this =
          UniqueFunction([owned = std::make_unique<D>(std::forward<F>(function))](
                             Args... args) -> R { return (*owned)(std::forward<Args>(args)...); });
    }
  }

  UniqueFunction(UniqueFunction&& other) noexcept { TakeFrom(other); }
  UniqueFunction& operator=(UniqueFunction&& other) noexcept {
    if (this != &other) {
      Reset();
      TakeFrom(other);
    }
    return *this;
  }
  ~UniqueFunction() { Reset(); }

  explicit operator bool() const { return invoke_ != nullptr; }
  R operator()(Args... args) {
    DCHECK(invoke_ != nullptr);
    return invoke_(room_, std::forward<Args>(args)...);
  }

 private:
  void Reset() {
    if (move_ != nullptr) move_(room_, nullptr);
    invoke_ = nullptr;
    move_ = nullptr;
  }
  void TakeFrom(UniqueFunction& other) {
    invoke_ = std::exchange(other.invoke_, nullptr);
    move_ = std::exchange(other.move_, nullptr);
    if (move_ != nullptr) move_(other.room_, room_);
  }

  R (*invoke_)(void*, Args...) = nullptr;
  void (*move_)(void* from, void* to) = nullptr;  // to == nullptr: only destroy
  alignas(void*) unsigned char room_[kRoomBytes];
};

}  // namespace rdmafs
