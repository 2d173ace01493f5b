#include "tests/simulation/actor.h"

#include <sys/stat.h>

#include <cstdio>

namespace rdmafs::simulation {

void Actor::Run(int count) {
  for (int i = 0; i < count && !shared_.stop && mount_.connected(); ++i) {
    Step();
    if (random().OneIn(8)) shared_.scheduler.Sleep(random().Below(300) * kMillisecond);
  }
  ended = true;
}

void Actor::Step() {
  static constexpr struct {
    const char* name;
    void (Actor::*step)();
  } kSteps[] = {{"Make", &Actor::Make},
                {"Make", &Actor::Make},
                {"Remove", &Actor::Remove},
                {"Move", &Actor::Move},
                {"Look", &Actor::Look},
                {"WriteAndRead", &Actor::WriteAndRead},
                {"WriteAndRead", &Actor::WriteAndRead},
                {"Append", &Actor::Append},
                {"Append", &Actor::Append},
                {"LockAndUnlock", &Actor::LockAndUnlock}};
  const auto& chosen = kSteps[random().Below(std::size(kSteps))];
  ++operation_count;
  doing = chosen.name;
  (this->*chosen.step)();
}

bool Actor::IsUnknown(Errno error, const char* what) {
  if (error == Errno(ENOTCONN) || error == Errno(ETIMEDOUT))
    return true;  // the mount ended, or is soft
  if (error != Errno(EIO) && error != Errno(ESTALE)) return false;
  Expect(shared_.calls_may_fail,
         std::string(what) + " failed without a reason: " + error.ToString());
  return true;
}

void Actor::Make() {
  const std::string name = PickName();
  Name& known = names_[name];
  auto made = mount_.Do<Entry>([&](FileSystem& fs, Reply<Entry> reply) {
    fs.MkNod({}, root(), name, S_IFREG | 0644, 0, 0, std::move(reply));
  });
  if (made.ok()) {
    Expect(!known.known || known.file == nullptr, "made " + name + ", which was there");
    known = {true, std::make_shared<File>(File{made->handle, std::string()})};
  } else if (IsUnknown(made.error(), "MkNod")) {
    known.known = false;
  } else if (!IsRefused(made.error())) {
    Expect(made.error() == Errno(EEXIST), "MkNod: " + made.error().ToString());
    Expect(!known.known || known.file != nullptr, name + " is said to be there, and was not");
  }
}

void Actor::Remove() {
  const std::string name = PickName();
  Name& known = names_[name];
  auto removed = mount_.Do<Attributes>([&](FileSystem& fs, Reply<Attributes> reply) {
    fs.Unlink({}, root(), name, std::move(reply));
  });
  if (removed.ok()) {
    Expect(!known.known || known.file != nullptr, "removed " + name + ", which was not there");
    known = {true, nullptr};
  } else if (IsUnknown(removed.error(), "Unlink")) {
    known.known = false;
  } else if (!IsRefused(removed.error())) {
    Expect(removed.error() == Errno(ENOENT), "Unlink: " + removed.error().ToString());
    Expect(!known.known || known.file == nullptr, name + " is said to be gone, and was there");
  }
}

void Actor::Move() {
  const std::string from = PickName(), to = PickName();
  if (from == to) return;
  auto moved = mount_.Do<Attributes>([&](FileSystem& fs, Reply<Attributes> reply) {
    fs.Rename({}, root(), from, root(), to, 0, std::move(reply));
  });
  Name& known = names_[from];
  if (moved.ok()) {
    Expect(!known.known || known.file != nullptr, "moved " + from + ", which was not there");
    names_[to] = known;
    known = {true, nullptr};
  } else if (IsUnknown(moved.error(), "Rename")) {
    known.known = names_[to].known = false;
  } else if (!IsRefused(moved.error())) {
    Expect(moved.error() == Errno(ENOENT), "Rename: " + moved.error().ToString());
    Expect(!known.known || known.file == nullptr, from + " is said to be gone, and was there");
  }
}

void Actor::Look() {
  const std::string name = PickName();
  Name& known = names_[name];
  auto found = mount_.Do<Entry>(
      [&](FileSystem& fs, Reply<Entry> reply) { fs.Lookup({}, root(), name, std::move(reply)); });
  if (!found.ok() && found.error() != Errno(ENOENT)) {
    Expect(IsUnknown(found.error(), "Lookup"), "Lookup: " + found.error().ToString());
    return;
  }
  if (!known.known) {
    known = {true,
             found.ok() ? std::make_shared<File>(File{found->handle, std::nullopt}) : nullptr};
    return;
  }
  Expect(found.ok() == (known.file != nullptr), name + (found.ok() ? " is there" : " is gone"));
  if (found.ok() && known.file != nullptr) {
    Expect(found->handle == known.file->handle, name + " is another file");
  }
}

Result<OpenId> Actor::OpenByName(const std::string& name, uint32_t flags) {
  auto found = mount_.Do<Entry>(
      [&](FileSystem& fs, Reply<Entry> reply) { fs.Lookup({}, root(), name, std::move(reply)); });
  if (!found.ok()) return found.error();
  OpenId id = 0;
  auto opened = mount_.Do<Attributes>([&](FileSystem& fs, Reply<Attributes> reply) {
    id = fs.NewOpenId();
    fs.Open({}, found->handle, id, flags, 0, std::move(reply));
  });
  if (!opened.ok()) return opened.error();
  return id;
}

void Actor::Close(OpenId id) {
  auto closed =
      mount_.Do<Unit>([&](FileSystem& fs, Reply<Unit> reply) { fs.Release(id, std::move(reply)); });
  // Else the server that had it open is gone, and so it is closed.
  const bool gone = closed.error() == Errno(EIO) || closed.error() == Errno(ESTALE);
  Expect(closed.ok() || gone || IsUnknown(closed.error(), "Release"),
         "Release: " + closed.error().ToString());
}

void Actor::WriteAndRead() {
  const Name name = names_[PickName()];
  if (name.file == nullptr || !name.known) return;
  const std::shared_ptr<File> file = name.file;
  OpenId id = 0;
  auto opened = mount_.Do<Attributes>([&](FileSystem& fs, Reply<Attributes> reply) {
    id = fs.NewOpenId();
    fs.Open({}, file->handle, id, O_RDWR, 0, std::move(reply));
  });
  if (!opened.ok()) {
    Expect(IsUnknown(opened.error(), "Open"), "Open: " + opened.error().ToString());
    return;
  }
  const size_t size = random().OneIn(3) ? 9000 : 1 + random().Below(100);
  const uint64_t offset = random().Below(200);
  const char letter = static_cast<char>('a' + random().Below(26));
  Buffer block = mount_.memory().blocks.Take();
  std::memset(block.data(), letter, size);
  auto written = mount_.Do<uint64_t>([&](FileSystem& fs, Reply<uint64_t> reply) {
    WriteRequest request{.open_id = id, .offset = offset};
    request.source = {.bytes = block.payload().first(size), .hold = block};
    fs.Write(std::move(request), std::move(reply));
  });
  if (!written.ok()) {
    Expect(IsRefused(written.error()) || IsUnknown(written.error(), "Write"),
           "Write: " + written.error().ToString());
    // Done again after a loss, it may be refused although the first one was not.
    file->content.reset();
  } else {
    Expect(*written == size, "a short write");
    if (file->content) {
      if (file->content->size() < offset + size) file->content->resize(offset + size);
      file->content->replace(offset, size, size, letter);
    }
  }
  Buffer into = mount_.memory().blocks.Take();
  auto read = mount_.Do<Payload>([&](FileSystem& fs, Reply<Payload> reply) {
    ReadRequest request{.open_id = id, .offset = 0, .size = 10000};
    request.destination = {.bytes = into.payload().first(10000), .hold = into};
    fs.Read(std::move(request), std::move(reply));
  });
  if (read.ok() && file->content) {
    const std::string got(reinterpret_cast<const char*>(read->bytes.data()), read->bytes.size());
    Expect(got == *file->content, "what was read is not what was written");
  } else if (!read.ok()) {
    Expect(IsUnknown(read.error(), "Read"), "Read: " + read.error().ToString());
  }
  Close(id);
}

void Actor::Append() {
  if (log_ == 0) {
    auto opened = OpenByName(kLog, O_WRONLY | O_APPEND);
    if (!opened.ok()) {
      Expect(IsUnknown(opened.error(), "Open"), "Open of the log: " + opened.error().ToString());
      return;
    }
    log_ = *opened;
  }
  char record[kRecordBytes + 1];
  std::snprintf(record, sizeof record, "%s-%08d....", name_.c_str(), next_record_++);
  Buffer block = mount_.memory().blocks.Take();
  std::memcpy(block.data(), record, kRecordBytes);
  auto written = mount_.Do<uint64_t>([&](FileSystem& fs, Reply<uint64_t> reply) {
    WriteRequest request{.open_id = log_};
    request.source = {.bytes = block.payload().first(kRecordBytes), .hold = block};
    fs.Write(std::move(request), std::move(reply));
  });
  const std::string text(record, kRecordBytes);
  if (written.ok()) {
    Expect(*written == kRecordBytes, "a short append");
    shared_.appended.insert(text);
  } else if (!IsRefused(written.error())) {
    Expect(IsUnknown(written.error(), "append"), "append: " + written.error().ToString());
    shared_.maybe.insert(text);
    if (written.error() == Errno(ESTALE)) log_ = 0;
  }
}

void Actor::LockAndUnlock() {
  if (lock_ == 0) {
    auto opened = OpenByName(kLock, O_RDWR);
    if (!opened.ok()) {
      Expect(IsUnknown(opened.error(), "Open"), "Open of the lock: " + opened.error().ToString());
      return;
    }
    lock_ = *opened;
  }
  LockRange range{static_cast<uint64_t>(number_) + 1, 0, INT64_MAX, wire::LockType::kWrite, 1};
  auto locked = mount_.Do<Unit>([&](FileSystem& fs, Reply<Unit> reply) {
    fs.SetLock(lock_, range, wire::kLockWait, std::move(reply));
  });
  if (!locked.ok()) {
    Expect(IsUnknown(locked.error(), "SetLock"), "SetLock: " + locked.error().ToString());
    if (locked.error() == Errno(ESTALE)) lock_ = 0;
    return;
  }
  Expect(shared_.lock_holder == nullptr || !shared_.exclusive, "two have the lock");
  shared_.lock_holder = this;
  if (random().OneIn(2)) shared_.scheduler.Sleep(random().Below(3000) * kMillisecond);
  Expect(shared_.lock_holder == this || !shared_.exclusive, "the lock was given to another");
  shared_.lock_holder = nullptr;
  range.type = wire::LockType::kUnlock;
  auto unlocked = mount_.Do<Unit>(
      [&](FileSystem& fs, Reply<Unit> reply) { fs.SetLock(lock_, range, 0, std::move(reply)); });
  if (!unlocked.ok()) {
    Expect(IsUnknown(unlocked.error(), "unlock"), "unlock: " + unlocked.error().ToString());
    // It may be held, by what a program does then: it closes the file.
    shared_.exclusive = false;
    const OpenId closed = std::exchange(lock_, 0);
    (void)mount_.Do<Unit>(
        [&](FileSystem& fs, Reply<Unit> reply) { fs.Release(closed, std::move(reply)); });
  }
}

void Actor::Check(server::MemoryStore& disk) {
  const wire::FileHandle root = disk.Attach({}, "")->handle;
  for (const auto& [name, known] : names_) {
    if (!known.known) continue;
    const bool there = disk.Lookup({}, root, name).ok();
    Expect(there == (known.file != nullptr),
           name + (there ? " is there at the end" : " is gone at the end"));
    if (there && known.file != nullptr && known.file->content) {
      Expect(disk.Get(name) == *known.file->content, name + " has another content at the end");
    }
  }
}

}  // namespace rdmafs::simulation
