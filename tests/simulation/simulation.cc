#include "tests/simulation/simulation.h"

#include "absl/strings/str_cat.h"
#include "tests/simulation/actor.h"

namespace rdmafs::simulation {
namespace {

constexpr Nanoseconds kEnd = 1200 * kSecond;
constexpr int kMounts = 2;
constexpr int kActorsPerMount = 2;
constexpr int kOperations = 16;

// What a run has to do with. Each kind of trouble is one of its own, as what may be expected
// differs.
struct Trouble {
  uint64_t cut_one_in = 0;   // rounds in which a connection is lost
  uint64_t kill_one_in = 0;  // rounds in which the server is killed
  uint64_t unplug_one_in =
      0;  // rounds in which a client's network goes, for longer than the lease at times
  uint64_t die_one_in = 0;  // rounds in which a client dies; one of them does
  CrashableStore::Faults faults;
};

Trouble TroubleOf(uint64_t seed) {
  Trouble trouble;
  trouble.cut_one_in = 40 + seed % 7 * 40;
  switch (seed % 5) {
    case 0:
      break;
    case 1:
      trouble.kill_one_in = 400;
      trouble.faults = {.crash_one_in = 10};
      break;
    case 2:
      trouble.faults = {.full_one_in = 10, .error_one_in = 0};
      break;
    case 3:
      trouble.kill_one_in = 1500;
      trouble.unplug_one_in = 1500;
      trouble.faults = {.full_one_in = 30, .error_one_in = 50, .crash_one_in = 40};
      break;
    case 4:
      trouble.die_one_in = 500;
      break;
  }
  return trouble;
}

// One run.
class Run {
 public:
  Run(uint64_t seed, Memory& memory)
      : trouble_(TroubleOf(seed)),
        scheduler_(seed),
        hub_(std::make_shared<LoopbackHub>(static_cast<uint32_t>(seed))),
        host_(scheduler_, memory, hub_, trouble_.faults),
        shared_{.scheduler = scheduler_} {
    shared_.calls_may_fail = trouble_.unplug_one_in != 0 || trouble_.faults.error_one_in != 0;
    // A new session takes its locks again, but others may have been quicker.
    shared_.exclusive =
        trouble_.kill_one_in == 0 && trouble_.unplug_one_in == 0 && trouble_.die_one_in == 0;
    host_.disk().Put(Actor::kLog, "");
    host_.disk().Put(Actor::kLock, "");
    for (int i = 0; i < kMounts; ++i) {
      mounts_.push_back(std::make_unique<SimulatedClient>(scheduler_, memory, hub_, 0));
    }
    for (int i = 0; i < kMounts * kActorsPerMount; ++i) {
      actors_.push_back(std::make_unique<Actor>(shared_, *mounts_[i / kActorsPerMount], i));
    }
    plugged_at_.resize(kMounts, 0);
  }

  std::vector<std::string> Go() {
    host_.Start();
    for (auto& mount : mounts_) {
      threads_.push_back(scheduler_.Start([this, &mount] {
        while (!mount->Connect().ok()) scheduler_.Sleep(kSecond);
        ++connected_;
      }));
    }
    Until([this] { return connected_ == kMounts; }, "the mounts are there");
    for (auto& actor : actors_) {
      threads_.push_back(scheduler_.Start([&actor] { actor->Run(kOperations); }));
    }
    troubled_ = true;
    Until([this] { return AllEnded(); }, "all operations have ended");
    troubled_ = false;
    Repair();
    if (shared_.faults.empty()) CheckDisk();
    End();
    return shared_.faults;
  }

 private:
  void Until(const std::function<bool()>& done, const char* what) {
    const auto more = [&] {
      if (troubled_) MakeTrouble();
      return done();
    };
    if (scheduler_.RunUntil(more, kEnd)) return;
    std::string under_way;
    for (const auto& actor : actors_) {
      if (!actor->ended)
        absl::StrAppend(&under_way, ", ", actor->doing, " (", actor->operation_count, ")");
    }
    shared_.Complain(absl::StrCat("not in time: ", what, under_way));
  }

  bool AllEnded() const {
    for (const auto& actor : actors_) {
      if (!actor->ended) return false;
    }
    return true;
  }

  void MakeTrouble() {
    Random& random = scheduler_.random();
    SimulatedClient& mount = *mounts_[random.Below(mounts_.size())];
    if (random.OneIn(trouble_.cut_one_in) && mount.network().count() != 0) {
      mount.network().Cut(random.Below(mount.network().count()));
    }
    if (host_.running() && random.OneIn(trouble_.kill_one_in)) {
      host_.Kill();
      start_at_ = scheduler_.Now() + static_cast<Nanoseconds>(random.Below(3000)) * kMillisecond;
    }
    if (!host_.running() && scheduler_.Now() >= start_at_) host_.Start();
    for (size_t i = 0; i < mounts_.size(); ++i) {
      if (plugged_at_[i] != 0 && scheduler_.Now() >= plugged_at_[i]) {
        plugged_at_[i] = 0;
        mounts_[i]->network().set_unplugged(false);
      }
      if (plugged_at_[i] == 0 && random.OneIn(trouble_.unplug_one_in)) {
        Unplug(*mounts_[i]);
        plugged_at_[i] = scheduler_.Now() + static_cast<Nanoseconds>(random.Below(2 * kLease));
      }
    }
    if (!died_ && random.OneIn(trouble_.die_one_in)) Die();
  }

  static void Unplug(SimulatedClient& mount) {
    mount.network().set_unplugged(true);
    CutAll(mount);
  }
  static void CutAll(SimulatedClient& mount) {
    for (size_t i = 0; i < mount.network().count(); ++i) mount.network().Cut(i);
  }

  // The first mount's host is gone. Its applications end with it.
  void Die() {
    died_ = dying_ = true;
    SimulatedClient& mount = *mounts_[0];
    mount.network().set_unplugged(true);
    CutAll(mount);
    threads_.push_back(scheduler_.Start([this, &mount] {
      scheduler_.Sleep(5 * kSecond);  // until it knows
      mount.Shutdown();
      dying_ = false;
    }));
  }

  void Repair() {
    if (!host_.running()) host_.Start();
    for (size_t i = died_ ? 1 : 0; i < mounts_.size(); ++i)
      mounts_[i]->network().set_unplugged(false);
  }

  void CheckDisk() {
    for (auto& actor : actors_) {
      actor->Check(host_.disk());
    }
    const std::string log = host_.disk().Get(Actor::kLog);
    std::set<std::string> seen;
    for (size_t i = 0; i < log.size(); i += Actor::kRecordBytes) {
      const std::string record = log.substr(i, Actor::kRecordBytes);
      if (!seen.insert(record).second) shared_.Complain("twice in the log: " + record);
      if (!shared_.appended.contains(record) && !shared_.maybe.contains(record)) {
        shared_.Complain("nobody has appended: " + record);
      }
    }
    for (const std::string& record : shared_.appended) {
      if (!seen.contains(record)) shared_.Complain("acknowledged, and not in the log: " + record);
    }
  }

  void End() {
    shared_.stop = true;
    int ended = 0;
    threads_.push_back(scheduler_.Start([&] {
      for (auto& mount : mounts_) mount->Shutdown();
      ended = 1;
    }));
    const bool in_time = scheduler_.RunUntil([&] { return ended != 0 && !dying_ && AllEnded(); },
                                             kEnd + 600 * kSecond);
    CHECK(in_time);  // else there are threads that cannot be joined
    for (std::thread& thread : threads_) thread.join();
    // Their sessions are over, or will be with the lease.
    const bool gone = scheduler_.RunUntil([&] { return host_.session_count() == 0; },
                                          scheduler_.Now() + 3 * kLease);
    if (!gone) shared_.Complain("a session stays behind");
    host_.Kill();
    if (host_.disk().open_count != 0) shared_.Complain("an open file stays behind");
  }

  const Trouble trouble_;
  Scheduler scheduler_;
  const std::shared_ptr<LoopbackHub> hub_;
  SimulatedServer host_;
  Shared shared_;
  std::vector<std::unique_ptr<SimulatedClient>> mounts_;
  std::vector<std::unique_ptr<Actor>> actors_;
  std::vector<std::thread> threads_;
  std::vector<Nanoseconds> plugged_at_;
  Nanoseconds start_at_ = 0;
  int connected_ = 0;
  bool troubled_ = false;
  bool died_ = false, dying_ = false;
};

}  // namespace

std::vector<std::string> Simulate(uint64_t seed, Memory& memory) {
  std::vector<std::string> faults;
  {
    Run run(seed, memory);
    faults = run.Go();
  }
  if (memory.blocks.statistics().used_count != 0) faults.push_back("blocks stay in use");
  if (memory.messages.statistics().used_count != 0) faults.push_back("messages stay in use");
  return faults;
}

}  // namespace rdmafs::simulation
