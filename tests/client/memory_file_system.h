// MemoryFileSystem: files in memory whose operations happen, and are answered, when the test says
// so.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/client/refusing_file_system.h"

namespace rdmafs {

// What the shards of a test have in common: the files. An operation is first sent, then it happens
// (the server does it), then it is answered; both steps in any order that the test likes. `Next` is
// one shard's view. All on one thread.
class MemoryFileSystem {
 public:
  struct File {
    std::vector<std::byte> content;
    uint64_t change_count = 0;  // shows as mtime and ctime
  };
  struct Operation {
    std::function<void()> happen;
    std::function<void()> answer;
    bool happened = false;
    bool is_read = false;
    OpenId open_id = 0;
    uint64_t offset = 0;
    uint32_t size = 0;
  };

  class Next final : public RefusingFileSystem {
   public:
    explicit Next(MemoryFileSystem& owner) : owner_(owner) {}
    OpenId NewOpenId() override { return owner_.next_open_id_++; }
    void Lookup(const Caller&, const FileHandle&, std::string_view name, Reply<Entry>) override;
    void GetAttr(const Caller&, const FileHandle&, OpenId, Reply<Attributes>) override;
    void SetAttr(const Caller&, const FileHandle&, OpenId, const SetAttributes&,
                 Reply<Attributes>) override;
    void Open(const Caller&, const FileHandle&, OpenId, uint32_t flags, uint32_t options,
              Reply<Attributes>) override;
    // Without the bytes.
    void OpenAndRead(const Caller&, const FileHandle&, uint32_t flags, uint32_t options,
                     ReadRequest first, Reply<OpenedFile>) override;
    void Create(const Caller&, const FileHandle& parent, std::string_view name, OpenId,
                uint32_t flags, uint32_t mode, uint32_t options, Reply<Entry>) override;
    void Release(OpenId, Reply<Unit>) override;
    void Read(ReadRequest, Reply<Payload>) override;
    void Write(WriteRequest, Reply<uint64_t>) override;
    void Fallocate(const Caller&, OpenId, uint64_t offset, uint64_t length, uint32_t mode,
                   Reply<Unit>) override;
    void CopyFileRange(const Caller&, const CopyFileRangeRequest&, Reply<uint64_t>) override;
    void ReadDir(const Caller&, ReadDirRequest, Reply<Payload>) override;
    // Every lock is granted.
    CancelToken SetLock(OpenId, const LockRange&, uint32_t flags, Reply<Unit>) override;

   private:
    MemoryFileSystem& owner_;
  };

  static FileHandle HandleOf(const std::string& name);
  File& file(const std::string& name) { return files_[name]; }
  Attributes AttributesOf(const std::string& name);
  // Another client changes the file, behind everyone's back.
  void Overwrite(const std::string& name, uint64_t offset, absl::Span<const std::byte> bytes);
  void Resize(const std::string& name, uint64_t size);

  // --- Operations that were sent and are not answered, oldest first. ---
  size_t pending_count() const { return pending_.size(); }
  const Operation& pending(size_t index) const { return *pending_[index]; }
  void Happen(size_t index);
  // Answers it; it happens now if it has not yet.
  void Answer(size_t index);
  void AnswerAll();  // also what is sent meanwhile

  uint64_t read_count() const { return read_count_; }   // that were sent
  uint64_t read_bytes() const { return read_bytes_; }   // that were answered
  void FailReads(Errno error) { read_error_ = error; }  // kOk: no more
  void set_inline_reads(bool on) { inline_reads_ = on; }
  // Operations are answered before the call returns.
  void set_immediate(bool on) { immediate_ = on; }

 private:
  void Send(Operation operation);
  std::string NameOf(OpenId id) const;
  static void Write(File& file, uint64_t offset, absl::Span<const std::byte> bytes);
  Result<size_t> ReadFrom(const std::string& name, uint64_t offset, absl::Span<std::byte> to) const;

  std::map<std::string, File> files_;
  std::map<OpenId, std::string> open_;
  std::deque<std::unique_ptr<Operation>> pending_;
  OpenId next_open_id_ = 1;
  uint64_t read_count_ = 0, read_bytes_ = 0;
  Errno read_error_;
  bool inline_reads_ = false;
  bool immediate_ = false;
};

}  // namespace rdmafs
