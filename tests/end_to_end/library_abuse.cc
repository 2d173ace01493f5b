// library_abuse: tries to make librdmafs read stale or write into memory that is no longer there.
// Every read goes to memory whose mapping has just changed, and is compared with the file.
//
//   library_abuse HOST:DIR PORT TRANSPORT FILE ROUNDS MR_CACHE
//
// FILE: 8 MiB or more, byte i of which is (i * 0x9E3779B97F4A7C15) >> 56.
#include <fcntl.h>
#include <rdmafs/rdmafs.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

namespace {

constexpr size_t kMi = 1 << 20;
constexpr size_t kFileBytes = 8 * kMi;

rdmafs_fs* fs;
rdmafs_file* file;
std::atomic<long> reads{0}, faults{0};

unsigned char At(uint64_t offset) {
  return static_cast<unsigned char>((offset * 0x9E3779B97F4A7C15u) >> 56);
}

void Fault(const char* what) {
  if (faults++ < 20) std::printf("FAULT: %s\n", what);
}

char* Map(size_t size, int protection = PROT_READ | PROT_WRITE, void* where = nullptr,
          int flags = MAP_PRIVATE | MAP_ANONYMOUS, int fd = -1) {
  void* memory = ::mmap(where, size, protection, flags | (where != nullptr ? MAP_FIXED : 0), fd, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<char*>(memory);
}

// Reads a stretch to `memory` and looks whether it is there, all of it, and nothing behind it.
void Read(const char* what, char* memory, size_t size, uint64_t seed) {
  const uint64_t offset = seed * 4099 % (kFileBytes - size);
  std::memset(memory, 0xEE, size);
  ++reads;
  if (rdmafs_readto(file, memory, size, offset, nullptr) != static_cast<int64_t>(size))
    return Fault(what);
  for (size_t i = 0; i < size; i += i + 1 < size ? 61 : 1) {
    if (static_cast<unsigned char>(memory[i]) != At(offset + i)) return Fault(what);
  }
  if (static_cast<unsigned char>(memory[size - 1]) != At(offset + size - 1)) Fault(what);
}

void Expect(const char* what, int64_t got, int64_t expected) {
  if (got == expected) return;
  std::printf("%s: %lld, not %lld\n", what, static_cast<long long>(got),
              static_cast<long long>(expected));
  Fault(what);
}

// The next mapping at the same address, with other pages.
void SameAddress(size_t size, int rounds) {
  char* place = Map(size);
  for (int i = 0; i < rounds; ++i) {
    Read("the same address, mapped anew", place, size, i);
    ::munmap(place, size);
    if (Map(size, PROT_READ | PROT_WRITE, place) != place) return Fault("mmap");
  }
  ::munmap(place, size);
}

// Registered, unregistered as it has to be, mapped anew, registered again.
void Registered(size_t size, int rounds) {
  char* place = Map(size);
  for (int i = 0; i < rounds; ++i) {
    Expect("register", rdmafs_register(fs, place, size, RDMAFS_READTO), 0);
    Read("registered memory", place, size, i);
    Read("a part of registered memory", place + size / 2, size / 4, i);
    Expect("unregister", rdmafs_unregister(fs, place, size), 0);
    ::munmap(place, size);
    Map(size, PROT_READ | PROT_WRITE, place);
  }
  ::munmap(place, size);
}

void Moved(size_t size, int rounds) {
  char* place = Map(size);
  for (int i = 0; i < rounds; ++i) {
    Read("before mremap", place, size, i);
    char* hole = Map(size);
    place = static_cast<char*>(::mremap(place, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, hole));
    if (place != hole) return Fault("mremap");
    Read("after mremap", place, size, i + 1);
  }
  ::munmap(place, size);
}

void Dropped(size_t size, int rounds) {
  char* place = Map(size);
  for (int i = 0; i < rounds; ++i) {
    Read("before MADV_DONTNEED", place, size, i);
    ::madvise(place, size, MADV_DONTNEED);
    Read("after MADV_DONTNEED", place, size, i + 7);
  }
  ::munmap(place, size);
}

void Reallocated(int rounds) {
  char* memory = nullptr;
  for (int i = 0; i < rounds; ++i) {
    const size_t size = static_cast<size_t>(1 + i * 7919 % 700) * 1000;
    memory = static_cast<char*>(std::realloc(memory, size));
    Read("realloc", memory, size, i);
  }
  std::free(memory);
}

void OnTheStack(int rounds) {
  for (int i = 0; i < rounds; ++i) {
    char memory[200'000];
    Read("the stack", memory, 1 + static_cast<size_t>(i) * 7919 % sizeof memory, i);
  }
}

void OtherKindsOfMemory(int rounds) {
  std::FILE* backing = std::tmpfile();
  if (::ftruncate(::fileno(backing), kMi) != 0) return Fault("ftruncate");
  char* kinds[] = {Map(kMi, PROT_READ | PROT_WRITE, nullptr, MAP_SHARED | MAP_ANONYMOUS),
                   Map(kMi, PROT_READ | PROT_WRITE, nullptr, MAP_SHARED, ::fileno(backing)),
                   Map(kMi, PROT_READ | PROT_WRITE, nullptr, MAP_PRIVATE, ::fileno(backing)),
                   Map(2 * kMi, PROT_READ | PROT_WRITE, nullptr,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB)};
  const char* names[] = {"shared memory", "a shared file", "a private file", "huge pages"};
  for (size_t kind = 0; kind < 4; ++kind) {
    if (kinds[kind] == nullptr) continue;  // no huge pages here
    for (int i = 0; i < rounds; ++i) {
      for (size_t size : {size_t{4096}, size_t{60'000}, kMi})
        Read(names[kind], kinds[kind], size, i);
    }
  }
  std::fclose(backing);
}

void ReadOnly() {
  char* memory = Map(kMi, PROT_READ);
  for (size_t size : {size_t{100}, size_t{60'000}, kMi}) {
    Expect("read-only", rdmafs_readto(file, memory, size, 0, nullptr), -EFAULT);
    Expect("half of it read-only",
           (::mprotect(memory, 4096, PROT_READ | PROT_WRITE),
            size > 4096 ? rdmafs_readto(file, memory, size, 0, nullptr) : -EFAULT),
           -EFAULT);
    ::mprotect(memory, kMi, PROT_READ);
  }
  Expect("register read-only", rdmafs_register(fs, memory, kMi, RDMAFS_READTO), -EFAULT);
  ::munmap(memory, kMi);
  Expect("register what is not there", rdmafs_register(fs, memory, kMi, RDMAFS_READTO), -EFAULT);
  Expect("read to what is not there", rdmafs_readto(file, memory, kMi, 0, nullptr), -EFAULT);
}

void ManyPointers(int count) {
  const size_t size = 70'000;
  char* memory = Map(kMi * 8);
  for (int i = 0; i < count; ++i)
    Read("one of many pointers", memory + static_cast<size_t>(i) * 701 % (7 * kMi), size, i);
  ::munmap(memory, kMi * 8);
}

void ManyThreads(int rounds) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t, rounds] {
      const size_t size = 100'000;
      for (int i = 0; i < rounds; ++i) {
        char* memory = Map(size);
        if ((i + t) % 2 == 0)
          Expect("register", rdmafs_register(fs, memory, size, RDMAFS_READTO), 0);
        Read("threads", memory, size, i * 4 + t);
        if ((i + t) % 2 == 0) Expect("unregister", rdmafs_unregister(fs, memory, size), 0);
        ::munmap(memory, size);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// A fork makes the parent's pages copy-on-write: what arrives must be seen by the parent all the
// same.
void Forked(int rounds) {
  char* memory = Map(kMi);
  char* plain = Map(kMi);
  Expect("register", rdmafs_register(fs, memory, kMi, RDMAFS_READTO), 0);
  for (int i = 0; i < rounds; ++i) {
    Read("before fork", memory, kMi, i);
    Read("plain memory before fork", plain, kMi, i + 1);
    int pipes[2];
    if (::pipe(pipes) != 0) return Fault("pipe");
    const pid_t child = ::fork();
    if (child == 0) {
      char byte;
      std::memset(plain, 0x55, kMi);  // its own copy
      ::close(pipes[1]);
      (void)!::read(pipes[0], &byte, 1);  // alive while the parent reads
      ::_exit(0);
    }
    ::close(pipes[0]);
    Read("with a child", memory, kMi, i + 3);
    Read("plain memory with a child", plain, kMi, i + 5);
    char* fresh = Map(kMi);
    Read("new plain memory with a child", fresh, kMi, i + 7);
    ::munmap(fresh, kMi);
    ::close(pipes[1]);
    ::waitpid(child, nullptr, 0);
    Read("after the child", memory, kMi, i + 9);
    Read("plain memory after the child", plain, kMi, i + 11);
  }
  Expect("unregister", rdmafs_unregister(fs, memory, kMi), 0);
  ::munmap(memory, kMi);
  ::munmap(plain, kMi);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) return 2;
  rdmafs_options options;
  rdmafs_options_init(&options);
  options.port = static_cast<unsigned>(std::atoi(argv[2]));
  options.transport = argv[3];
  options.threads = 2;
  options.mr_cache = argv[6];
  char why[256];
  if (rdmafs_connect(argv[1], &options, &fs, why, sizeof why) != 0) {
    std::printf("FAULT: %s\n", why);
    return 1;
  }
  Expect("open", rdmafs_open(fs, argv[4], O_RDONLY, 0, &file, nullptr), 0);
  if (faults != 0) return 1;
  const int rounds = std::atoi(argv[5]);
  for (size_t size : {size_t{4096}, size_t{64} << 10, size_t{256} << 10, kMi}) {
    SameAddress(size, rounds);
    Moved(size, rounds / 4 + 1);
    Dropped(size, rounds / 4 + 1);
    Registered(size, rounds / 4 + 1);
  }
  Reallocated(rounds);
  OnTheStack(rounds);
  OtherKindsOfMemory(rounds / 10 + 1);
  ReadOnly();
  ManyPointers(rounds < 2000 ? rounds : 10'000);
  ManyThreads(rounds / 4 + 1);
  Forked(rounds / 10 + 1);

  rdmafs_statistics statistics;
  rdmafs_get_statistics(fs, &statistics, sizeof statistics);
  Expect("reconnects", static_cast<int64_t>(statistics.reconnects), 0);
  Expect("close", rdmafs_close(file), 0);
  Expect("disconnect", rdmafs_disconnect(fs), 0);
  std::printf("%ld reads, %ld faults; %llu registrations for one call, %llu changes told of\n",
              reads.load(), faults.load(),
              static_cast<unsigned long long>(statistics.call_registrations),
              static_cast<unsigned long long>(statistics.mapping_changes));
  return faults != 0;
}
