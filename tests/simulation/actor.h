// Actor: an application on a mount, and what it may believe of the files after what it was told.
#pragma once

#include <fcntl.h>

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/simulation/world.h"

namespace rdmafs::simulation {

// What all actors share.
struct Shared {
  Scheduler& scheduler;
  std::vector<std::string> faults;  // of the system under test
  std::set<std::string> appended;   // records that were acknowledged
  std::set<std::string> maybe;      // records whose append ended with an error
  const void* lock_holder = nullptr;
  bool exclusive = true;        // no holder of a lock can have lost it unknowingly
  bool calls_may_fail = false;  // EIO is an answer that the run has a reason for
  bool stop = false;
  void Complain(const std::string& what) {
    if (faults.size() < 10) faults.push_back(what);
  }
};

// Runs on one of the scheduler's threads. Its names are its own; the log and the lock are
// everybody's.
class Actor {
 public:
  static constexpr size_t kRecordBytes = 16;
  static constexpr const char* kLog = "log";
  static constexpr const char* kLock = "lock";

  Actor(Shared& shared, SimulatedClient& mount, int number)
      : shared_(shared), mount_(mount), number_(number), name_("a" + std::to_string(number)) {}

  void Run(int operation_count);
  // After the end: what is on the disk against what it believes.
  void Check(server::MemoryStore& disk);
  bool ended = false;
  int operation_count = 0;  // begun
  const char* doing = "";

 private:
  struct File {
    FileHandle handle;
    std::optional<std::string> content;  // nothing: a write may or may not have happened
  };
  // What a name stands for: nothing known, no file, or one.
  struct Name {
    bool known = true;
    std::shared_ptr<File> file;
  };

  void Step();
  void Make();
  void Remove();
  void Move();
  void Look();
  void WriteAndRead();
  void Append();
  void LockAndUnlock();
  // The first open of a file that is there from the start.
  Result<OpenId> OpenByName(const std::string& name, uint32_t flags);
  void Close(OpenId id);

  std::string PickName() { return name_ + "-" + std::to_string(random().Below(3)); }
  Random& random() { return shared_.scheduler.random(); }
  // An error that says nothing about whether the call was done. Complains when there is no reason
  // for it.
  bool IsUnknown(Errno error, const char* what);
  bool IsRefused(Errno error) { return error == Errno(ENOSPC); }
  void Expect(bool holds, const std::string& what) {
    if (!holds) shared_.Complain(name_ + ": " + what);
  }
  const FileHandle& root() { return mount_.root(); }

  Shared& shared_;
  SimulatedClient& mount_;
  const int number_;
  const std::string name_;
  std::map<std::string, Name> names_;
  OpenId log_ = 0, lock_ = 0;
  int next_record_ = 0;
};

}  // namespace rdmafs::simulation
