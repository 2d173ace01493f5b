// library_read: what the ways of a read through librdmafs cost, and what the same costs through a
// mount.
//
//   library_read ways HOST:DIR PORT TRANSPORT FILE SECONDS ROUNDS    a table: sizes by ways, MiB/s
//   library_read stream HOST:DIR PORT TRANSPORT FILE SECONDS SIZE DEPTH
//   library_read file PATH SECONDS SIZE DEPTH                        O_DIRECT, DEPTH threads
//
// The last two print "MiB/s, CPU ms of this process for each GiB". FILE: of 32 MiB at least.
#include <fcntl.h>
#include <poll.h>
#include <rdmafs/rdmafs.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace {

using SteadyClock = std::chrono::steady_clock;
constexpr size_t kKi = 1024, kMi = 1024 * 1024, kMost = 16 * kMi, kFileBytes = 32 * kMi;

[[noreturn]] void Fail(const char* what, int64_t error) {
  std::fprintf(stderr, "%s: %s\n", what, std::strerror(static_cast<int>(-error)));
  std::exit(1);
}
void Check(const char* what, int64_t result) {
  if (result < 0) Fail(what, result);
}

char* Memory(size_t size) {
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) Fail("mmap", -errno);
  std::memset(memory, 1, size);
  return static_cast<char*>(memory);
}

struct Attached {
  Attached(char** argv, const char* mr_cache) {
    rdmafs_options options;
    rdmafs_options_init(&options);
    options.port = static_cast<unsigned>(std::atoi(argv[1]));
    options.transport = argv[2];
    options.mr_cache = mr_cache;
    char why[256];
    if (rdmafs_connect(argv[0], &options, &fs, why, sizeof why) != 0) {
      std::fprintf(stderr, "%s\n", why);
      std::exit(1);
    }
    Check("open", rdmafs_open(fs, argv[3], O_RDONLY, 0, &file, nullptr));
  }
  ~Attached() {
    Check("close", rdmafs_close(file));
    Check("disconnect", rdmafs_disconnect(fs));
  }
  rdmafs_fs* fs = nullptr;
  rdmafs_file* file = nullptr;
};

double Seconds(SteadyClock::time_point since) {
  return std::chrono::duration<double>(SteadyClock::now() - since).count();
}

// MiB/s of calls of so many bytes, one after the other, each at the next offset.
double Rate(double seconds, size_t size, const std::function<void(uint64_t offset)>& read) {
  uint64_t count = 0, offset = 0;
  const auto begin = SteadyClock::now();
  do {
    read(offset);
    offset = offset + 2 * size > kFileBytes ? 0 : offset + size;
    ++count;
  } while (Seconds(begin) < seconds);
  return static_cast<double>(count * size) / kMi / Seconds(begin);
}

// --- ways ---

class Ways {
 public:
  explicit Ways(char** argv)
      : plain_(argv, "off"), kept_(argv, "uffd"), seconds_(std::atof(argv[4])) {
    Check("register", rdmafs_register(plain_.fs, registered_, kMost, RDMAFS_READTO));
  }
  ~Ways() { Check("unregister", rdmafs_unregister(plain_.fs, registered_, kMost)); }

  static constexpr const char* kNames[] = {"registered", "bounced", "registered for the call",
                                           "plain pointer", "mr_cache=uffd"};
  double Measure(size_t way, size_t size) {
    return Rate(seconds_, size, [this, way, size](uint64_t offset) {
      switch (way) {
        case 0: return ReadTo(plain_, registered_, size, offset);
        case 1: return Bounced(size, offset);
        case 2:
          Check("register", rdmafs_register(plain_.fs, memory_, size, RDMAFS_READTO));
          ReadTo(plain_, memory_, size, offset);
          return Check("unregister", rdmafs_unregister(plain_.fs, memory_, size));
        case 3: return ReadTo(plain_, memory_, size, offset);
        default: return ReadTo(kept_, memory_, size, offset);
      }
    });
  }

 private:
  static void ReadTo(Attached& by, char* memory, size_t size, uint64_t offset) {
    Check("readto", rdmafs_readto(by.file, memory, size, offset, nullptr));
  }
  // Into the library's registered memory, and copied: all that a bounce buffer is, whatever the
  // size.
  void Bounced(size_t size, uint64_t offset) {
    for (size_t at = 0; at < size; at += kMi) {
      rdmafs_buffer buffer;
      Check("read_pool",
            rdmafs_read_pool(plain_.file, std::min(kMi, size - at), offset + at, &buffer, nullptr));
      std::memcpy(memory_ + at, buffer.data, buffer.size);
      Check("consumed", rdmafs_buffer_consumed(plain_.fs, &buffer));
    }
  }

  Attached plain_, kept_;
  const double seconds_;
  char* const registered_ = Memory(kMost);
  char* const memory_ = Memory(kMost);
};

int PrintWays(char** argv) {
  Ways ways(argv);
  const int rounds = std::atoi(argv[5]);
  std::printf("| bytes |");
  for (const char* name : Ways::kNames) std::printf(" %s |", name);
  std::printf("\n| --- | --- | --- | --- | --- | --- |\n");
  for (size_t size : {4 * kKi, 16 * kKi, 64 * kKi, 256 * kKi, kMi, 4 * kMi, kMost}) {
    std::vector<double> samples[std::size(Ways::kNames)];
    for (int round = 0; round < rounds; ++round) {
      for (size_t way = 0; way < std::size(Ways::kNames); ++way)
        samples[way].push_back(ways.Measure(way, size));
    }
    std::printf("| %zu KiB |", size / kKi);
    for (auto& each : samples) {
      std::nth_element(each.begin(), each.begin() + each.size() / 2, each.end());
      std::printf(" %.1f |", each[each.size() / 2]);
    }
    std::printf("\n");
    std::fflush(stdout);
  }
  return 0;
}

// --- stream, file ---

double CpuSeconds() {
  rusage usage;
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void PrintStream(uint64_t bytes, double seconds, double cpu) {
  const double mib = static_cast<double>(bytes) / kMi;
  std::printf("%.1f %.1f\n", mib / seconds, cpu * 1000 / (mib / 1024));
}

// Reads under way, each into its own part of registered memory and started again when it is there.
class Stream {
 public:
  Stream(Attached& by, size_t size, size_t depth)
      : by_(by), size_(size), memory_(Memory(size * depth)), calls_(depth) {
    Check("register", rdmafs_register(by.fs, memory_, size * depth, RDMAFS_READTO));
  }
  ~Stream() { Check("unregister", rdmafs_unregister(by_.fs, memory_, size_ * calls_.size())); }

  uint64_t Run(double seconds) {
    const auto begin = SteadyClock::now();
    for (rdmafs_call& call : calls_) {
      call.user = this;
      call.done = [](rdmafs_call* done, int64_t result) {
        Check("readto", result);
        auto* self = static_cast<Stream*>(done->user);
        --self->under_way_;
        self->bytes_ += static_cast<uint64_t>(result);
        if (!self->ends_) self->Start(*done);
      };
      Start(call);
    }
    while (under_way_ != 0) {
      pollfd waits{rdmafs_event_fd(by_.fs), POLLIN, 0};
      ::poll(&waits, 1, -1);
      rdmafs_process(by_.fs, 64);
      ends_ = Seconds(begin) >= seconds;
    }
    return bytes_;
  }

 private:
  void Start(rdmafs_call& call) {
    ++under_way_;
    char* to = memory_ + static_cast<size_t>(&call - calls_.data()) * size_;
    Check("readto", rdmafs_readto(by_.file, to, size_, offset_, &call));
    offset_ = offset_ + 2 * size_ > kFileBytes ? 0 : offset_ + size_;
  }

  Attached& by_;
  const size_t size_;
  char* const memory_;
  std::vector<rdmafs_call> calls_;
  uint64_t offset_ = 0, bytes_ = 0;
  size_t under_way_ = 0;
  bool ends_ = false;
};

int RunStream(char** argv) {
  Attached by(argv, "off");
  Stream stream(by, std::strtoul(argv[5], nullptr, 10), std::strtoul(argv[6], nullptr, 10));
  const double cpu = CpuSeconds();
  const auto begin = SteadyClock::now();
  const uint64_t bytes = stream.Run(std::atof(argv[4]));
  PrintStream(bytes, Seconds(begin), CpuSeconds() - cpu);
  return 0;
}

int RunFile(char** argv) {
  const double seconds = std::atof(argv[1]);
  const size_t size = std::strtoul(argv[2], nullptr, 10);
  const int fd = ::open(argv[0], O_RDONLY | O_DIRECT | O_CLOEXEC);
  if (fd < 0) Fail(argv[0], -errno);
  std::vector<std::thread> threads;
  std::atomic<uint64_t> next{0}, bytes{0};
  const double cpu = CpuSeconds();
  const auto begin = SteadyClock::now();
  for (int t = 0; t < std::atoi(argv[3]); ++t) {
    threads.emplace_back([&, memory = Memory(size)] {
      while (Seconds(begin) < seconds) {
        const uint64_t offset = next++ * size % (kFileBytes - size + 1) / size * size;
        const ssize_t got = ::pread(fd, memory, size, static_cast<off_t>(offset));
        if (got < 0) Fail("pread", -errno);
        bytes += static_cast<uint64_t>(got);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  PrintStream(bytes, Seconds(begin), CpuSeconds() - cpu);
  ::close(fd);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "ways" && argc == 8) return PrintWays(argv + 2);
  if (what == "stream" && argc == 9) return RunStream(argv + 2);
  if (what == "file" && argc == 6) return RunFile(argv + 2);
  std::fprintf(stderr, "see the beginning of tests/bench/library_read.cc\n");
  return 2;
}
