// ReadAheadPolicy: which bytes of an open file are likely to be read next, and how many of them to
// fetch.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace rdmafs {

// One open file's, pure: it is told of every read and says what to fetch. It follows several
// streams of reads at once: forward, backward, or with a constant stride. A forward stream is
// fetched ahead of from its second read on, another from its third, through a window that doubles
// whenever as much as it has been read, and halves on a miss. How a stream ends is remembered:
// after a short one that wasted more than 1/64 of what was read, the next must be longer before
// they start; after a long one that wasted a quarter, the file's windows stay smaller; after one
// that wasted less, the other way. Not thread-safe.
class ReadAheadPolicy {
 public:
  struct Options {
    uint64_t max_window_bytes = uint64_t{8} << 20;
    uint32_t max_fetch_bytes = uint32_t{1} << 20;  // of one fetch
  };
  using StreamId = uint64_t;  // 0: none; never used again
  struct Fetch {
    StreamId stream = 0;
    uint64_t offset = 0;
    uint32_t size = 0;
  };

  static constexpr size_t kMaxStreams = 16;
  // Fetches that are ahead of a stream's reads at a time.
  static constexpr uint32_t kMaxFetches = 32;
  // Reads of the file after which a stream that took no part in them has ended.
  static constexpr uint64_t kMaxIdleReads = 64;

  explicit ReadAheadPolicy(const Options& options)
      : options_(options), window_cap_(options.max_window_bytes) {}

  // The file ends at `size`: nothing is fetched that begins there or behind it.
  void SetFileSize(uint64_t size) { file_size_ = size; }
  // A read of at least one byte was asked for. Returns the stream it belongs to, 0 for none.
  StreamId OnRead(uint64_t offset, uint32_t size);
  // The next piece to fetch for the stream; it counts as fetched. nullopt: no more for now.
  std::optional<Fetch> Next(StreamId stream);
  // It could not be fetched now; Next() will say it again. The last one only.
  void GiveBack(const Fetch& fetch);
  // A stream that is over, each once: what was fetched for it and not read will not be.
  StreamId TakeEnded();
  // The content changed: all that was fetched ahead is worth nothing.
  void OnInvalidated();

  // Bytes; 0 for a stream that is not fetched ahead of.
  uint64_t window(StreamId stream) const;
  uint64_t largest_window() const;
  // Reads in sequence that a forward stream must have before it is fetched ahead of.
  uint32_t required_run() const { return required_forward_; }

 private:
  struct Stream {
    StreamId id = 0;
    uint64_t last_offset = 0;
    uint32_t read_size = 0;
    int64_t stride = 0;  // from one read to the next
    uint32_t run = 0;    // reads
    uint64_t run_bytes = 0;
    uint64_t window = 0;
    uint64_t peak_window = 0;  // what misses have taken, until the stream goes on or ends
    uint64_t read_since_growth = 0;
    uint64_t ahead_bytes = 0;    // fetched and not read yet
    uint64_t skipped_bytes = 0;  // fetched and stepped over
    uint64_t last_use = 0;

    uint64_t end() const { return last_offset + read_size; }
    bool Forward() const { return stride == int64_t{read_size}; }
    bool Backward() const { return stride == -int64_t{read_size}; }
    bool Contiguous() const { return Forward() || Backward(); }
    bool ContinuedBy(uint64_t offset, uint32_t size) const;
    // A little off the expected place, of a forward stream that is fetched ahead of.
    bool IsNear(uint64_t offset) const;
    // Just behind: one of several reads at a time, that came later than those after it.
    bool IsLate(uint64_t offset) const;
  };
  struct Recent {
    uint64_t offset = 0;
    uint32_t size = 0;  // 0: none
    uint64_t end() const { return offset + size; }
  };
  static constexpr size_t kRecentReads = 64;

  Stream* Find(StreamId id);
  Stream* FindContinued(uint64_t offset, uint32_t size, bool contiguous);
  Stream* FindNear(uint64_t offset);
  // A stream of this read and earlier ones; nullptr when they are none, or there is no place for
  // another.
  Stream* BeginContiguous(uint64_t offset, uint32_t size);
  Stream* BeginStrided(uint64_t offset, uint32_t size);
  Stream* Begin(uint64_t offset, uint32_t size, int64_t stride, uint32_t run);
  void Advance(Stream& stream, uint64_t offset, uint32_t size);
  void StepOver(Stream& stream, uint64_t offset, uint32_t size);
  void Grow(Stream& stream, uint32_t size);
  bool MayStart(const Stream& stream) const;
  void OnMiss();
  // Whether the prediction has paid, and what that means for the streams to come.
  void Judge(const Stream& stream);
  void End(Stream& stream);
  void EndIdle();
  const Recent& Back(size_t count) const {
    return recent_[(recent_next_ + kRecentReads - count) % kRecentReads];
  }

  uint32_t FetchSize(const Stream& stream) const;
  std::optional<Fetch> NextContiguous(Stream& stream);
  std::optional<Fetch> NextStrided(Stream& stream);

  const Options options_;
  std::array<Stream, kMaxStreams> streams_{};
  std::array<Recent, kRecentReads> recent_{};
  size_t recent_next_ = 0;
  std::array<StreamId, kMaxStreams> ended_{};
  size_t ended_count_ = 0;
  uint64_t file_size_ = UINT64_MAX;
  uint64_t read_count_ = 0;
  StreamId last_stream_ = 0;  // the last one that was fetched ahead of
  StreamId next_id_ = 1;

  // What earlier streams have taught.
  uint32_t required_forward_ = 2;
  uint32_t required_other_ = 3;
  uint64_t window_cap_;
};

}  // namespace rdmafs
