// Reading directories: records, cookies that stay good, attributes along with names, many entries.
#include <cstring>
#include <map>
#include <set>
#include <thread>
#include <vector>

#include "tests/server/store_fixture.h"

namespace rdmafs {
namespace {

struct Record {
  wire::DirentHeader header;
  std::string name;
  StoreEntry entry;  // with kDirentAttributes
};

// Takes the payload of a ReadDir apart as a client does; empty when it is not well-formed. `end`:
// whether the directory ends behind them.
std::vector<Record> Parse(absl::Span<const std::byte> bytes, bool& end) {
  std::vector<Record> records;
  while (!bytes.empty()) {
    Record record;
    if (bytes.size() < sizeof record.header) return {};
    std::memcpy(&record.header, bytes.data(), sizeof record.header);
    const auto& h = record.header;
    end = (h.flags & wire::kDirentEnd) != 0;
    if (end) return bytes.size() == sizeof h && !records.empty() ? records : std::vector<Record>();
    const bool attributes = (h.flags & wire::kDirentAttributes) != 0;
    size_t at = sizeof h;
    if (h.record_size % 8 != 0 || h.record_size > bytes.size()) return {};
    if (at + (attributes ? sizeof(wire::Attributes) : 0) + h.handle_size + h.name_size >
        h.record_size)
      return {};
    if (attributes) {
      std::memcpy(&record.entry.attributes, bytes.data() + at, sizeof(wire::Attributes));
      at += sizeof(wire::Attributes);
      record.entry.handle.size_bytes = h.handle_size;
      std::memcpy(record.entry.handle.bytes.data(), bytes.data() + at, h.handle_size);
      at += h.handle_size;
    }
    record.name = Text(bytes.subspan(at, h.name_size));
    records.push_back(record);
    bytes.remove_prefix(h.record_size);
  }
  return records;
}

class StoreDirectory : public StoreTest {
 protected:
  std::shared_ptr<OpenFile> OpenDir(const Identity& as, const wire::FileHandle& handle) {
    auto opened = store_->Open(as, handle, O_RDONLY | O_DIRECTORY, false);
    EXPECT_TRUE(opened.ok()) << opened.error().ToString();
    return opened.ok() ? opened->file : nullptr;
  }
  // One call. `end`: what it said of the directory's end.
  std::vector<Record> Some(OpenFile& directory, uint64_t cookie, size_t bytes, bool plus = false,
                           const Identity& as = kRoot, bool* end = nullptr) {
    std::vector<std::byte> space(bytes);
    auto size = directory.ReadDir(as, cookie, plus, absl::MakeSpan(space));
    EXPECT_TRUE(size.ok()) << size.error().ToString();
    if (!size.ok() || *size == 0) return {};
    bool ignored = false;
    auto records = Parse({space.data(), *size}, end != nullptr ? *end : ignored);
    EXPECT_FALSE(records.empty()) << "malformed";
    return records;
  }
  std::vector<Record> All(OpenFile& directory, size_t bytes, bool plus = false,
                          const Identity& as = kRoot) {
    std::vector<Record> all;
    for (uint64_t cookie = 0;;) {
      auto some = Some(directory, cookie, bytes, plus, as);
      if (some.empty()) return all;
      cookie = some.back().header.next_cookie;
      all.insert(all.end(), some.begin(), some.end());
    }
  }
  static std::multiset<std::string> Names(const std::vector<Record>& records) {
    std::multiset<std::string> names;
    for (const Record& record : records) names.insert(record.name);
    return names;
  }
  // Made by the host, not through the store.
  void HostFiles(int count) {
    ThreadCredentials::ServerScope as_server;
    for (int i = 0; i < count; ++i) {
      const int fd = open(Host("file-" + std::to_string(i)).c_str(), O_CREAT | O_WRONLY, 0644);
      ASSERT_GE(fd, 0) << strerror(errno);
      close(fd);
    }
  }
};
RDMAFS_IN_ALL_PLACES(StoreDirectory);

TEST_P(StoreDirectory, ListsEveryNameOnceWithDots) {
  MakeFile(kAlice, "f");
  MakeDir(kAlice, "d");
  const std::string odd = "\xff\xfe name";
  MakeFile(kAlice, odd);
  auto directory = OpenDir(kAlice, root_);
  EXPECT_EQ(Names(All(*directory, 4096)), (std::multiset<std::string>{".", "..", "f", "d", odd}));
  for (const Record& record : All(*directory, 4096)) {
    EXPECT_EQ(record.header.flags, 0) << record.name;
    if (record.name == "d") {
      EXPECT_EQ(record.header.type, uint32_t{DT_DIR});
    }
    if (record.name == "f") {
      EXPECT_EQ(record.header.ino, HostStat("f").st_ino);
    }
  }
}

TEST_P(StoreDirectory, NothingIsToldOfTheDirectoryAboveTheExport) {
  auto directory = OpenDir(kAlice, root_);
  for (const Record& record : All(*directory, 4096))
    EXPECT_EQ(record.header.ino, HostStat(".").st_ino);
}

TEST_P(StoreDirectory, PlusBringsAttributesAndHandles) {
  const StoreEntry file = MakeFile(kAlice, "f", "12345"), inner = MakeDir(kAlice, "d");
  auto directory = OpenDir(kAlice, root_);
  std::map<std::string, Record> found;
  for (const Record& record : All(*directory, 4096, true)) found[record.name] = record;
  EXPECT_EQ(found["."].header.flags, 0);
  EXPECT_EQ(found[".."].header.flags, 0);
  if (table()) {
    EXPECT_EQ(found["f"].header.flags, 0) << "a walk must not flood the table";
    return;
  }
  EXPECT_EQ(found["f"].header.flags, wire::kDirentAttributes);
  EXPECT_EQ(found["f"].entry.handle, file.handle);
  EXPECT_EQ(found["f"].entry.attributes.size, 5u);
  EXPECT_EQ(found["d"].entry.handle, inner.handle);
}

TEST_P(StoreDirectory, WhoMayListButNotSearchGetsNamesWithoutAttributes) {
  const StoreEntry directory = MakeDir(kAlice, "d", 0755);
  ASSERT_TRUE(store_->MkDir(kAlice, directory.handle, "inner", 0755).ok());
  HostChmod("d", 0744);
  auto opened = OpenDir(kBob, directory.handle);
  auto records = All(*opened, 4096, true, kBob);
  EXPECT_EQ(Names(records), (std::multiset<std::string>{".", "..", "inner"}));
  for (const Record& record : records) EXPECT_EQ(record.header.flags, 0);
  HostChmod("d", 0711);
  EXPECT_EQ(ErrorOf(store_->Open(kBob, directory.handle, O_RDONLY | O_DIRECTORY, false)), EACCES);
}

TEST_P(StoreDirectory, SmallReadsSeeTheSameAsLargeOnes) {
  HostFiles(300);
  auto directory = OpenDir(kRoot, root_);
  auto large = All(*directory, 1 << 20, true);
  auto small = All(*directory, 512, true);
  EXPECT_EQ(large.size(), 302u);
  EXPECT_EQ(Names(large), Names(small));
}

TEST_P(StoreDirectory, RoomForNotEvenOneIsAnError) {
  auto directory = OpenDir(kRoot, root_);
  std::byte space[16];
  EXPECT_EQ(ErrorOf(directory->ReadDir(kRoot, 0, false, space)), EINVAL);
  EXPECT_EQ(Some(*directory, 0, 40).size(), 1u);
}

TEST_P(StoreDirectory, CookiesStayGoodWhileEntriesComeAndGo) {
  HostFiles(200);
  auto directory = OpenDir(kRoot, root_);
  auto first = Some(*directory, 0, 4096);
  const std::string gone = "file-0";
  ASSERT_TRUE(store_->Unlink(kRoot, root_, gone).ok());
  MakeFile(kRoot, "newcomer");
  std::multiset<std::string> names = Names(first);
  for (uint64_t cookie = first.back().header.next_cookie;;) {
    auto some = Some(*directory, cookie, 1000);
    if (some.empty()) break;
    cookie = some.back().header.next_cookie;
    for (const Record& record : some) names.insert(record.name);
  }
  for (int i = 1; i < 200; ++i) EXPECT_EQ(names.count("file-" + std::to_string(i)), 1u) << i;
}

TEST_P(StoreDirectory, SeveralReadersOfOneOpenDirectoryDoNotDisturbEachOther) {
  HostFiles(500);
  auto directory = OpenDir(kRoot, root_);
  std::vector<size_t> counts(4);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < counts.size(); ++t) {
    threads.emplace_back([&, t] { counts[t] = Names(All(*directory, 700 + 300 * t)).size(); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counts, std::vector<size_t>(4, 502));
}

TEST_P(StoreDirectory, RewindingShowsWhatCameSince) {
  auto directory = OpenDir(kRoot, root_);
  EXPECT_EQ(All(*directory, 4096).size(), 2u);
  MakeFile(kRoot, "new");
  EXPECT_EQ(All(*directory, 4096).size(), 3u);
}

TEST_P(StoreDirectory, AHundredThousandEntriesAreListed) {
  if (table()) return;  // the same code as without
  // Names are what counts, so a few files have many: inodes are slow to make.
  constexpr int kFiles = 10, kNames = 10'000;
  HostFiles(kFiles);
  for (int i = 0; i < kFiles * (kNames - 1); ++i) {
    const std::string file = Host("file-" + std::to_string(i % kFiles));
    ASSERT_EQ(link(file.c_str(), Host("link-" + std::to_string(i)).c_str()), 0) << strerror(errno);
  }
  auto directory = OpenDir(kRoot, root_);
  auto all = All(*directory, 1 << 20, true);
  EXPECT_EQ(all.size(), 100'002u);
  size_t with_attributes = 0;
  for (const Record& record : all) with_attributes += record.header.flags != 0;
  EXPECT_EQ(with_attributes, 100'000u);
  EXPECT_LE(store_->open_objects(), options_.fd_cache.capacity);
}

TEST_P(StoreDirectory, SaysThatItEndsBehindTheLastEntryWhereThereIsRoom) {
  for (int i = 0; i < 100; ++i) MakeFile(kAlice, "file" + std::to_string(i));
  auto opened = OpenDir(kAlice, root_);
  bool end = false;
  EXPECT_EQ(Some(*opened, 0, 64 << 10, false, kRoot, &end).size(), 102u);
  EXPECT_TRUE(end);
  const auto first = Some(*opened, 0, 2048, false, kRoot, &end);
  EXPECT_FALSE(end) << "there are more than fit";
  const auto rest = Some(*opened, first.back().header.next_cookie, 64 << 10, false, kRoot, &end);
  EXPECT_EQ(first.size() + rest.size(), 102u);
  EXPECT_TRUE(end);
  EXPECT_TRUE(Some(*opened, rest.back().header.next_cookie, 4096).empty());
}

TEST_P(StoreDirectory, ARemovedDirectoryIsEmpty) {
  const StoreEntry directory = MakeDir(kAlice, "d");
  auto opened = OpenDir(kAlice, directory.handle);
  ASSERT_TRUE(store_->RmDir(kAlice, root_, "d").ok());
  std::byte space[512];
  auto size = opened->ReadDir(kAlice, 0, false, space);
  EXPECT_TRUE(size.ok() ? *size == 0 : size.error() == Errno(ENOENT));
}

}  // namespace
}  // namespace rdmafs
