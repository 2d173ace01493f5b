#include "fuse/context.h"

#include "transport/base/log.h"

namespace rdmafs::fuse {

bool Context::Answer(const Ticket& ticket, Errno error, absl::Span<const std::byte> head,
                     absl::Span<const std::byte> data) {
  return AnswerBy(ticket, error, [&] { return parts_.channel.Reply(ticket, error, head, data); });
}

bool Context::Answer(const Ticket& ticket, const Payload& payload) {
  if (payload.pipe == nullptr) return Answer(ticket, kOk, {}, payload.bytes);
  return AnswerBy(ticket, kOk, [&] { return parts_.channel.ReplyByPipe(ticket, *payload.pipe); });
}

bool Context::AnswerBy(const Ticket& ticket, Errno error, absl::FunctionRef<Errno()> reply) {
  if (!flushes_.empty()) flushes_.erase(ticket.unique);
  if (!root_questions_.empty()) root_questions_.erase(ticket.unique);
  if (!answered_early_.empty()) {
    if (auto found = answered_early_.find(ticket.unique); found != answered_early_.end()) {
      Count(ticket, found->second);
      answered_early_.erase(found);
      return false;
    }
  }
  const Errno written = reply();
  Count(ticket, error);
  if (written.ok()) return true;
  // ENOENT: the caller was killed meanwhile. ENODEV, ENOTCONN, EPERM: the mount is gone.
  if (written != Errno(ENOENT) && written != Errno(ENODEV) && written != Errno(ENOTCONN) &&
      written != Errno(EPERM)) {
    Log(LogLevel::kError, "the kernel refused the answer to request ", ticket.unique, " (opcode ",
        ticket.opcode, "): ", written.ToString());
    // It still waits for one.
    if (error.ok()) (void)parts_.channel.Reply(ticket, Errno(EIO), {}, {});
  }
  return false;
}

void Context::GiveUp(uint64_t unique) {
  bool answered = false;
  const absl::Span<const std::byte> held = parts_.channel.GiveUp(unique, answered);
  if (answered) {
    answered_early_[unique] = Errno(EINTR);
    flushes_.erase(unique);
    root_questions_.erase(unique);
  }
  if (!held.empty()) parts_.file_system.GiveUp(held);
}

std::vector<Ticket> Context::TakeRootQuestions() {
  std::vector<Ticket> tickets;
  for (const auto& [unique, ticket] : root_questions_) tickets.push_back(ticket);
  root_questions_.clear();
  return tickets;
}

void Context::AnswerEarly(const Ticket& ticket, absl::Span<const std::byte> head) {
  answered_early_[ticket.unique] = kOk;
  // ENOENT: its caller was killed, and waits no more.
  (void)parts_.channel.Reply(ticket, kOk, head, {});
}

void Context::LookForLostInterrupts() {
  const Nanoseconds late = parts_.loop.clock().Now() - kInterruptPatience;
  std::vector<uint64_t> interrupted;  // giving one up changes what is looked through
  const auto see = [&](uint64_t unique, uint32_t tid, Nanoseconds since) {
    if (since < late && tid != 0 && WantsToLeave(static_cast<pid_t>(tid)))
      interrupted.push_back(unique);
  };
  parts_.channel.ForEachThatMayLoseInterrupts(see);
  for (const auto& [unique, flush] : flushes_) see(unique, flush.tid, flush.since);
  for (uint64_t unique : interrupted) Interrupt(unique);
}

void Context::Release(OpenId open_id, uint64_t locked_node) {
  ++releases_in_flight_;
  if (locked_node != 0) parts_.lock_releases.Begin(locked_node);
  parts_.file_system.Release(open_id, [this, locked_node](Result<Unit> result) {
    --releases_in_flight_;
    // What was written had its own answers, so there is nobody left to tell.
    if (!result.ok()) Log(LogLevel::kDebug, "release: ", result.error().ToString());
    if (locked_node != 0) parts_.lock_releases.End(locked_node);
  });
}

void Context::AfterLockReleases(uint64_t node_id, uint64_t ended_count,
                                std::function<void(bool)> then) {
  ++releases_in_flight_;
  auto finish = [this, ended_count, then = std::move(then)] {
    --releases_in_flight_;
    then(parts_.lock_releases.ended_count() != ended_count);
  };
  // Another shard may have taken a RELEASE that the kernel queued before, and not looked at it yet.
  parts_.after_all_shards([this, node_id, finish = std::move(finish)]() mutable {
    parts_.lock_releases.WhenNone(node_id, [this, finish = std::move(finish)]() mutable {
      parts_.loop.Post(std::move(finish));
    });
  });
}

void Context::ReleaseAll() {
  for (uint64_t number = 1; number < parts_.open_files.limit(); ++number) {
    const OpenId open_id = parts_.open_files.Remove(number);
    if (open_id != 0) Release(open_id);
  }
}

void Context::Count(const Ticket& ticket, Errno error) {
  parts_.statistics.Record(ticket.opcode, parts_.loop.clock().Now() - ticket.start, !error.ok());
}

}  // namespace rdmafs::fuse
