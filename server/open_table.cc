#include "server/open_table.h"

#include <utility>

namespace rdmafs::server {

OpenTable::Reserved OpenTable::Reserve(wire::OpenId id) {
  Stripe& stripe = StripeOf(id);
  absl::MutexLock lock(&stripe.mutex);
  if (stripe.entries.contains(id)) return Reserved::kDuplicate;
  if (stripe.closed || count_.fetch_add(1, std::memory_order_relaxed) >= limit_) {
    if (!stripe.closed) count_.fetch_sub(1, std::memory_order_relaxed);
    return Reserved::kFull;
  }
  stripe.entries.emplace(id, nullptr);
  return Reserved::kOk;
}

bool OpenTable::Fill(wire::OpenId id, std::shared_ptr<OpenEntry> entry) {
  Stripe& stripe = StripeOf(id);
  absl::MutexLock lock(&stripe.mutex);
  auto found = stripe.entries.find(id);
  if (found == stripe.entries.end()) return false;
  found->second = std::move(entry);
  return true;
}

void OpenTable::Abandon(wire::OpenId id) {
  Stripe& stripe = StripeOf(id);
  absl::MutexLock lock(&stripe.mutex);
  count_.fetch_sub(stripe.entries.erase(id), std::memory_order_relaxed);
}

std::shared_ptr<OpenEntry> OpenTable::Find(wire::OpenId id) const {
  const Stripe& stripe = StripeOf(id);
  absl::ReaderMutexLock lock(&stripe.mutex);
  auto found = stripe.entries.find(id);
  return found == stripe.entries.end() ? nullptr : found->second;
}

std::shared_ptr<OpenEntry> OpenTable::Remove(wire::OpenId id) {
  Stripe& stripe = StripeOf(id);
  absl::MutexLock lock(&stripe.mutex);
  auto found = stripe.entries.find(id);
  // One that is still being opened stays: its opener has not been told that it may be used.
  if (found == stripe.entries.end() || found->second == nullptr) return nullptr;
  std::shared_ptr<OpenEntry> entry = std::move(found->second);
  stripe.entries.erase(found);
  count_.fetch_sub(1, std::memory_order_relaxed);
  return entry;
}

std::vector<std::shared_ptr<OpenEntry>> OpenTable::Close() {
  std::vector<std::shared_ptr<OpenEntry>> all;
  for (Stripe& stripe : stripes_) {
    absl::MutexLock lock(&stripe.mutex);
    stripe.closed = true;
    for (auto& [id, entry] : stripe.entries) {
      if (entry != nullptr) all.push_back(std::move(entry));
    }
    count_.fetch_sub(stripe.entries.size(), std::memory_order_relaxed);
    stripe.entries.clear();
  }
  return all;
}

}  // namespace rdmafs::server
