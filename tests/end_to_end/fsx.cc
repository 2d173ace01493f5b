// fsx: random operations on a file, compared at every step with a model of it in memory.
//
//   fsx [-s SEED] [-n OPERATIONS] [-l MAX_BYTES] [-d] FILE
//
// Prints the seed; on a difference, the operation's number and the last ones before it. -d:
// O_DIRECT on aligned ranges. Run again with the same seed it does the same operations.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace {

constexpr size_t kAlignment = 4096;
constexpr size_t kShownOperations = 20;

struct Options {
  uint64_t seed = 1;
  int operations = 2000;
  size_t max_bytes = 4 << 20;
  bool direct = false;
  std::string path;
};

struct Range {
  size_t offset = 0;
  size_t length = 0;
};

// One file under test and its model. Exits at the first difference.
class Exerciser {
 public:
  explicit Exerciser(const Options& options)
      : options_(options), random_(options.seed), buffer_(Allocate(options.max_bytes)) {
    Open(O_CREAT | O_TRUNC);
  }
  ~Exerciser() { close(fd_); }
  Exerciser(const Exerciser&) = delete;
  Exerciser& operator=(const Exerciser&) = delete;

  void Run() {
    for (number_ = 1; number_ <= options_.operations; ++number_) Step();
    CompareAll("at the end");
    Reopen();
    CompareAll("after the last open");
  }

 private:
  struct Free {
    void operator()(unsigned char* p) const { free(p); }
  };
  using Buffer = std::unique_ptr<unsigned char, Free>;

  static Buffer Allocate(size_t size_bytes) {
    void* memory = nullptr;
    if (posix_memalign(&memory, kAlignment, size_bytes + kAlignment) != 0) abort();
    memset(memory, 0, size_bytes + kAlignment);
    return Buffer(static_cast<unsigned char*>(memory));
  }

  void Step() {
    switch (Pick(14)) {
      case 0: case 1: case 2: return Write();
      case 3: case 4: case 5: return Read();
      case 6: return Truncate();
      case 7: return MapWrite();
      case 8: return MapRead();
      case 9: return Punch();
      case 10: return Allocate();
      case 11: return Copy();
      case 12: return Append();
      default: return SyncOrReopen();
    }
  }

  size_t Pick(size_t bound) { return std::uniform_int_distribution<size_t>(0, bound - 1)(random_); }

  // A range within the first `limit` bytes, not empty; small ones as often as large ones.
  Range PickRange(size_t limit) {
    if (limit == 0) return {};
    size_t longest = std::min(limit, size_t{1} << (Pick(21) + 1));
    Range range;
    range.length = Pick(longest) + 1;
    range.offset = Pick(limit - range.length + 1);
    if (options_.direct) {
      range.offset -= range.offset % kAlignment;
      range.length += kAlignment - 1;
      range.length -= range.length % kAlignment;
      if (range.offset + range.length > limit) range.length = 0;
    }
    return range;
  }

  void Write() { WriteAt(PickRange(options_.max_bytes)); }

  void Append() {
    if (options_.direct || model_.size() >= options_.max_bytes) return;
    WriteAt(
        {model_.size(), Pick(std::min<size_t>(options_.max_bytes - model_.size(), 100000)) + 1});
  }

  void WriteAt(Range range) {
    if (range.length == 0) return;
    Note("write", range);
    FillBuffer(range.length);
    Done("write", pwrite(fd_, buffer_.get(), range.length, Offset(range)), range.length);
    Grow(range.offset + range.length);
    memcpy(&model_[range.offset], buffer_.get(), range.length);
  }

  void Read() {
    Range range = PickRange(options_.max_bytes);
    if (range.length == 0) return;
    Note("read", range);
    size_t there =
        range.offset >= model_.size() ? 0 : std::min(range.length, model_.size() - range.offset);
    Done("read", pread(fd_, buffer_.get(), range.length, Offset(range)), there);
    Compare("read", range.offset, buffer_.get(), there);
  }

  void Truncate() {
    size_t size = Pick(3) == 0 ? Pick(options_.max_bytes) : Pick(model_.size() + 1);
    Note("truncate", {0, size});
    Done("truncate", ftruncate(fd_, static_cast<off_t>(size)), 0);
    model_.resize(size);
    CompareSize("truncate");
  }

  void MapWrite() {
    Range range = PickRange(model_.size());
    if (range.length == 0) return;
    Note("map write", range);
    FillBuffer(range.length);
    WithMapping(range, PROT_READ | PROT_WRITE, [&](unsigned char* memory) {
      memcpy(memory, buffer_.get(), range.length);
    });
    memcpy(&model_[range.offset], buffer_.get(), range.length);
  }

  void MapRead() {
    Range range = PickRange(model_.size());
    if (range.length == 0) return;
    Note("map read", range);
    WithMapping(range, PROT_READ, [&](unsigned char* memory) {
      Compare("map read", range.offset, memory, range.length);
    });
  }

  template <typename Use>
  void WithMapping(Range range, int protection, Use use) {
    size_t skipped = range.offset % kAlignment;
    size_t length = range.length + skipped;
    void* memory = mmap(nullptr, length, protection, MAP_SHARED, fd_,
                        static_cast<off_t>(range.offset - skipped));
    if (memory == MAP_FAILED) Give("mmap", errno);
    use(static_cast<unsigned char*>(memory) + skipped);
    if ((protection & PROT_WRITE) != 0 && msync(memory, length, MS_SYNC) != 0) Give("msync", errno);
    munmap(memory, length);
  }

  void Punch() {
    Range range = PickRange(options_.max_bytes);
    if (range.length == 0) return;
    bool zero = Pick(2) == 0;
    Note(zero ? "zero range" : "punch hole", range);
    int mode = zero ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    if (fallocate(fd_, mode, Offset(range), Length(range)) != 0) return Unsupported("fallocate");
    if (zero) Grow(range.offset + range.length);
    if (range.offset >= model_.size()) return;
    size_t end = std::min(model_.size(), range.offset + range.length);
    std::fill(model_.begin() + Length({0, range.offset}), model_.begin() + Length({0, end}), 0);
    CompareSize("punch");
  }

  void Allocate() {
    Range range = PickRange(options_.max_bytes);
    if (range.length == 0) return;
    bool keep = Pick(2) == 0;
    Note(keep ? "allocate, keep size" : "allocate", range);
    if (fallocate(fd_, keep ? FALLOC_FL_KEEP_SIZE : 0, Offset(range), Length(range)) != 0) {
      return Unsupported("fallocate");
    }
    if (!keep) Grow(range.offset + range.length);
    CompareSize("allocate");
  }

  void Copy() {
    Range from = PickRange(model_.size());
    if (from.length == 0) return;
    size_t to = Pick(options_.max_bytes - from.length + 1);
    if (options_.direct) to -= to % kAlignment;
    if (to < from.offset + from.length && from.offset < to + from.length) return;  // EINVAL
    Note("copy to " + std::to_string(to) + " from", from);
    off_t source = Offset(from);
    off_t target = static_cast<off_t>(to);
    for (size_t left = from.length; left > 0;) {
      ssize_t count = copy_file_range(fd_, &source, fd_, &target, left, 0);
      if (count <= 0) return Unsupported("copy_file_range");
      left -= static_cast<size_t>(count);
    }
    Grow(to + from.length);
    std::vector<unsigned char> moved(model_.begin() + Offset(from),
                                     model_.begin() + Offset(from) + Length(from));
    std::copy(moved.begin(), moved.end(), model_.begin() + static_cast<ptrdiff_t>(to));
  }

  void SyncOrReopen() {
    if (Pick(2) == 0) {
      Note("fsync", {});
      return Done("fsync", fsync(fd_), 0);
    }
    Note("reopen", {});
    Reopen();
    if (Pick(4) == 0) CompareAll("after reopen");
  }

  void Open(int flags) {
    fd_ = open(options_.path.c_str(), O_RDWR | O_CLOEXEC | flags | (options_.direct ? O_DIRECT : 0),
               0644);
    if (fd_ < 0) Give("open", errno);
  }
  void Reopen() {
    if (close(fd_) != 0) Give("close", errno);
    Open(0);
  }

  void CompareAll(const char* when) {
    CompareSize(when);
    size_t position = 0;
    while (position < model_.size()) {
      ssize_t count = pread(fd_, buffer_.get(), options_.max_bytes, static_cast<off_t>(position));
      if (count < 0) Give(when, errno);
      if (count == 0) Give("a file that ends early", 0);
      Compare(when, position, buffer_.get(), static_cast<size_t>(count));
      position += static_cast<size_t>(count);
    }
  }

  void CompareSize(const char* what) {
    struct stat status {};
    if (fstat(fd_, &status) != 0) Give("fstat", errno);
    if (static_cast<size_t>(status.st_size) == model_.size()) return;
    fprintf(stderr, "%s: the file has %lld bytes, the model %zu\n", what,
            static_cast<long long>(status.st_size), model_.size());
    Quit();
  }

  void Compare(const char* what, size_t offset, const unsigned char* found, size_t length) {
    if (length == 0 || memcmp(found, &model_[offset], length) == 0) return;
    size_t first = 0;
    while (found[first] == model_[offset + first]) ++first;
    size_t count = 0;
    for (size_t i = first; i < length; ++i) count += found[i] != model_[offset + i];
    fprintf(stderr, "%s [%zu, +%zu): byte %zu is %#04x, not %#04x; %zu bytes differ\n", what,
            offset, length, offset + first, found[first], model_[offset + first], count);
    Quit();
  }

  // Every write has bytes that say which one it was.
  void FillBuffer(size_t length) {
    for (size_t i = 0; i < length; ++i) {
      buffer_.get()[i] = static_cast<unsigned char>(number_ * 31 + static_cast<int>(i % 251) + 1);
    }
  }

  void Grow(size_t size) {
    if (size > model_.size()) model_.resize(size);
  }

  void Done(const char* what, ssize_t got, size_t wanted) {
    if (got < 0) Give(what, errno);
    if (static_cast<size_t>(got) == wanted) return;
    fprintf(stderr, "%s: %zd bytes, not %zu\n", what, got, wanted);
    Quit();
  }

  // A file system may lack an operation, but it must say so and leave the file alone.
  void Unsupported(const char* what) {
    if (errno != EOPNOTSUPP && errno != EXDEV && errno != ENOSYS) Give(what, errno);
    if (number_ > unsupported_shown_) fprintf(stderr, "%s: %s\n", what, strerror(errno));
    unsupported_shown_ = options_.operations;
  }

  [[noreturn]] void Give(const char* what, int error) {
    fprintf(stderr, "%s: %s\n", what, strerror(error));
    Quit();
  }

  [[noreturn]] void Quit() {
    fprintf(stderr, "seed %llu, operation %d; the last ones:\n",
            static_cast<unsigned long long>(options_.seed), number_);
    for (const std::string& line : history_) fprintf(stderr, "  %s\n", line.c_str());
    exit(1);
  }

  void Note(const std::string& what, Range range) {
    history_.push_back(std::to_string(number_) + " " + what + " " + std::to_string(range.offset) +
                       " +" + std::to_string(range.length) + " of " +
                       std::to_string(model_.size()));
    if (history_.size() > kShownOperations) history_.pop_front();
  }

  static off_t Offset(Range range) { return static_cast<off_t>(range.offset); }
  static off_t Length(Range range) { return static_cast<off_t>(range.length); }

  const Options options_;
  std::mt19937_64 random_;
  Buffer buffer_;
  std::vector<unsigned char> model_;
  std::deque<std::string> history_;
  int fd_ = -1;
  int number_ = 0;
  int unsupported_shown_ = 0;
};

bool Parse(int argc, char** argv, Options* options) {
  for (int flag; (flag = getopt(argc, argv, "s:n:l:d")) != -1;) {
    switch (flag) {
      case 's': options->seed = strtoull(optarg, nullptr, 10); break;
      case 'n': options->operations = atoi(optarg); break;
      case 'l': options->max_bytes = strtoull(optarg, nullptr, 10); break;
      case 'd': options->direct = true; break;
      default: return false;
    }
  }
  if (optind + 1 != argc || options->operations <= 0 || options->max_bytes < kAlignment)
    return false;
  options->path = argv[optind];
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!Parse(argc, argv, &options)) {
    fprintf(stderr, "usage: fsx [-s SEED] [-n OPERATIONS] [-l MAX_BYTES] [-d] FILE\n");
    return 2;
  }
  printf("fsx: seed %llu, %d operations on %s\n", static_cast<unsigned long long>(options.seed),
         options.operations, options.path.c_str());
  Exerciser(options).Run();
  return 0;
}
