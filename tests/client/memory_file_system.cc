#include "tests/client/memory_file_system.h"

#include <fcntl.h>
#include <linux/falloc.h>

#include <algorithm>
#include <cstring>

namespace rdmafs {

FileHandle MemoryFileSystem::HandleOf(const std::string& name) {
  FileHandle handle;
  handle.size_bytes = static_cast<uint16_t>(name.size());
  std::memcpy(handle.bytes.data(), name.data(), name.size());
  return handle;
}

Attributes MemoryFileSystem::AttributesOf(const std::string& name) {
  const File& file = files_[name];
  Attributes attributes{};
  attributes.size = file.content.size();
  attributes.mtime_s = attributes.ctime_s = static_cast<int64_t>(file.change_count);
  return attributes;
}

void MemoryFileSystem::Write(File& file, uint64_t offset, absl::Span<const std::byte> bytes) {
  if (file.content.size() < offset + bytes.size()) file.content.resize(offset + bytes.size());
  std::copy(bytes.begin(), bytes.end(), file.content.begin() + static_cast<ptrdiff_t>(offset));
  ++file.change_count;
}

void MemoryFileSystem::Overwrite(const std::string& name, uint64_t offset,
                                 absl::Span<const std::byte> bytes) {
  Write(files_[name], offset, bytes);
}

void MemoryFileSystem::Resize(const std::string& name, uint64_t size) {
  files_[name].content.resize(size);
  ++files_[name].change_count;
}

void MemoryFileSystem::Happen(size_t index) {
  Operation& operation = *pending_[index];
  if (operation.happened) return;
  operation.happened = true;
  operation.happen();
}

void MemoryFileSystem::Answer(size_t index) {
  Happen(index);
  const std::unique_ptr<Operation> operation = std::move(pending_[index]);
  pending_.erase(pending_.begin() + static_cast<ptrdiff_t>(index));
  operation->answer();
}

void MemoryFileSystem::AnswerAll() {
  while (!pending_.empty()) Answer(0);
}

void MemoryFileSystem::Send(Operation operation) {
  pending_.push_back(std::make_unique<Operation>(std::move(operation)));
  if (immediate_) Answer(pending_.size() - 1);
}

std::string MemoryFileSystem::NameOf(OpenId id) const {
  const auto found = open_.find(id);
  return found == open_.end() ? "" : found->second;
}

Result<size_t> MemoryFileSystem::ReadFrom(const std::string& name, uint64_t offset,
                                          absl::Span<std::byte> to) const {
  if (!read_error_.ok()) return read_error_;
  const auto found = files_.find(name);
  if (found == files_.end()) return Errno(EBADF);
  const std::vector<std::byte>& content = found->second.content;
  if (offset >= content.size() || to.empty()) return size_t{0};
  const size_t count = std::min<size_t>(to.size(), content.size() - offset);
  std::memcpy(to.data(), content.data() + offset, count);
  return count;
}

// --- Operations. std::function must be copyable, hence the shared pointers. ---

void MemoryFileSystem::Next::Read(ReadRequest request, Reply<Payload> reply) {
  ++owner_.read_count_;
  struct State {
    ReadRequest request;
    Reply<Payload> reply;
    Result<size_t> result{size_t{0}};
    std::vector<std::byte> message;
  };
  auto state = std::make_shared<State>();
  state->request = std::move(request);
  state->reply = std::move(reply);
  const bool is_inline = owner_.inline_reads_ || state->request.destination.bytes.empty();
  if (is_inline) state->message.resize(state->request.size);
  const std::string name = owner_.NameOf(state->request.open_id);
  MemoryFileSystem& owner = owner_;
  Operation operation;
  operation.is_read = true;
  operation.open_id = state->request.open_id;
  operation.offset = state->request.offset;
  operation.size = state->request.size;
  operation.happen = [&owner, state, name, is_inline] {
    absl::Span<std::byte> to = is_inline
                                   ? absl::MakeSpan(state->message)
                                   : state->request.destination.bytes.first(state->request.size);
    state->result = owner.ReadFrom(name, state->request.offset, to);
  };
  operation.answer = [&owner, state, is_inline] {
    if (!state->result.ok()) return state->reply.Complete(state->result.error());
    owner.read_bytes_ += *state->result;
    if (!is_inline) {
      return state->reply.Complete(Payload{state->request.destination.bytes.first(*state->result),
                                           std::move(state->request.destination.hold),
                                           {}});
    }
    auto* kept = new std::vector<std::byte>(std::move(state->message));
    ReceivedMessage message(
        {}, {}, [](void* bytes, uint64_t) { delete static_cast<std::vector<std::byte>*>(bytes); },
        kept, 0);
    state->reply.Complete(Payload{{kept->data(), *state->result}, {}, std::move(message)});
  };
  owner_.Send(std::move(operation));
}

void MemoryFileSystem::Next::Write(WriteRequest request, Reply<uint64_t> reply) {
  auto bytes = std::make_shared<std::vector<std::byte>>(request.source.bytes.begin(),
                                                        request.source.bytes.end());
  auto kept = std::make_shared<Reply<uint64_t>>(std::move(reply));
  MemoryFileSystem& owner = owner_;
  const std::string name = owner_.NameOf(request.open_id);
  Operation operation;
  operation.happen = [&owner, name, bytes, offset = request.offset] {
    MemoryFileSystem::Write(owner.files_[name], offset, *bytes);
  };
  operation.answer = [kept, bytes] { kept->Complete(bytes->size()); };
  owner_.Send(std::move(operation));
}

void MemoryFileSystem::Next::GetAttr(const Caller&, const FileHandle& handle, OpenId,
                                     Reply<Attributes> reply) {
  struct State {
    Reply<Attributes> reply;
    Attributes attributes{};
  };
  auto state = std::make_shared<State>();
  state->reply = std::move(reply);
  MemoryFileSystem& owner = owner_;
  const std::string name(handle.view());
  Operation operation;
  operation.happen = [&owner, state, name] { state->attributes = owner.AttributesOf(name); };
  operation.answer = [state] { state->reply.Complete(state->attributes); };
  owner_.Send(std::move(operation));
}

void MemoryFileSystem::Next::SetAttr(const Caller&, const FileHandle& handle, OpenId,
                                     const SetAttributes& attributes, Reply<Attributes> reply) {
  struct State {
    Reply<Attributes> reply;
    Attributes attributes{};
  };
  auto state = std::make_shared<State>();
  state->reply = std::move(reply);
  MemoryFileSystem& owner = owner_;
  const std::string name(handle.view());
  Operation operation;
  operation.happen = [&owner, state, name, attributes] {
    if ((attributes.valid & wire::kSetSize) != 0) owner.Resize(name, attributes.size);
    state->attributes = owner.AttributesOf(name);
  };
  operation.answer = [state] { state->reply.Complete(state->attributes); };
  owner_.Send(std::move(operation));
}

void MemoryFileSystem::Next::Lookup(const Caller& caller, const FileHandle&, std::string_view name,
                                    Reply<Entry> reply) {
  const FileHandle handle = HandleOf(std::string(name));
  GetAttr(
      caller, handle, 0,
      [handle, kept = std::make_unique<Reply<Entry>>(std::move(reply))](Result<Attributes> result) {
        kept->Complete(Entry{*result, handle});
      });
}

void MemoryFileSystem::Next::Open(const Caller& caller, const FileHandle& handle, OpenId id,
                                  uint32_t flags, uint32_t, Reply<Attributes> reply) {
  owner_.open_[id] = std::string(handle.view());
  SetAttributes truncate{};
  if ((flags & O_TRUNC) != 0) truncate.valid = wire::kSetSize;
  SetAttr(caller, handle, id, truncate, std::move(reply));
}

void MemoryFileSystem::Next::OpenAndRead(const Caller& caller, const FileHandle& handle,
                                         uint32_t flags, uint32_t options, ReadRequest first,
                                         Reply<OpenedFile> reply) {
  auto kept = std::make_shared<Reply<OpenedFile>>(std::move(reply));
  Open(caller, handle, first.open_id, flags, options, [kept](Result<Attributes> result) {
    if (!result.ok()) return kept->Complete(result.error());
    kept->Complete(OpenedFile{*result, {}});
  });
}

void MemoryFileSystem::Next::Create(const Caller& caller, const FileHandle&, std::string_view name,
                                    OpenId id, uint32_t flags, uint32_t, uint32_t,
                                    Reply<Entry> reply) {
  const FileHandle handle = HandleOf(std::string(name));
  Open(
      caller, handle, id, flags, 0,
      [handle, kept = std::make_unique<Reply<Entry>>(std::move(reply))](Result<Attributes> result) {
        kept->Complete(Entry{*result, handle});
      });
}

void MemoryFileSystem::Next::Release(OpenId id, Reply<Unit> reply) {
  auto kept = std::make_shared<Reply<Unit>>(std::move(reply));
  MemoryFileSystem& owner = owner_;
  Operation operation;
  operation.happen = [&owner, id] { owner.open_.erase(id); };
  operation.answer = [kept] { kept->Complete(Unit{}); };
  owner_.Send(std::move(operation));
}

void MemoryFileSystem::Next::Fallocate(const Caller&, OpenId id, uint64_t offset, uint64_t length,
                                       uint32_t mode, Reply<Unit> reply) {
  auto kept = std::make_shared<Reply<Unit>>(std::move(reply));
  MemoryFileSystem& owner = owner_;
  const std::string name = owner_.NameOf(id);
  Operation operation;
  operation.happen = [&owner, name, offset, length] {
    File& file = owner.files_[name];
    for (uint64_t i = offset; i < std::min<uint64_t>(offset + length, file.content.size()); ++i) {
      file.content[i] = std::byte{0};
    }
    ++file.change_count;
  };
  operation.answer = [kept] { kept->Complete(Unit{}); };
  CHECK((mode & FALLOC_FL_PUNCH_HOLE) != 0);
  owner_.Send(std::move(operation));
}

CancelToken MemoryFileSystem::Next::SetLock(OpenId, const LockRange&, uint32_t, Reply<Unit> reply) {
  auto kept = std::make_shared<Reply<Unit>>(std::move(reply));
  Operation operation;
  operation.happen = [] {};
  operation.answer = [kept] { kept->Complete(Unit{}); };
  owner_.Send(std::move(operation));
  return 0;
}

void MemoryFileSystem::Next::CopyFileRange(const Caller&, const CopyFileRangeRequest& request,
                                           Reply<uint64_t> reply) {
  auto kept = std::make_shared<Reply<uint64_t>>(std::move(reply));
  MemoryFileSystem& owner = owner_;
  Operation operation;
  operation.happen = [&owner, request, in = owner_.NameOf(request.in_id),
                      out = owner_.NameOf(request.out_id)] {
    std::vector<std::byte> bytes(request.length);
    const Result<size_t> count = owner.ReadFrom(in, request.in_offset, absl::MakeSpan(bytes));
    bytes.resize(*count);
    MemoryFileSystem::Write(owner.files_[out], request.out_offset, bytes);
  };
  operation.answer = [kept, length = request.length] { kept->Complete(length); };
  owner_.Send(std::move(operation));
}

// All files, with attributes.
void MemoryFileSystem::Next::ReadDir(const Caller&, ReadDirRequest request, Reply<Payload> reply) {
  struct State {
    Reply<Payload> reply;
    PayloadMemory destination;
    size_t size = 0;
  };
  auto state = std::make_shared<State>();
  state->reply = std::move(reply);
  state->destination = std::move(request.destination);
  MemoryFileSystem& owner = owner_;
  Operation operation;
  operation.happen = [&owner, state] {
    for (const auto& [name, file] : owner.files_) {
      const Attributes attributes = owner.AttributesOf(name);
      const size_t raw = sizeof(wire::DirentHeader) + sizeof attributes + 2 * name.size();
      wire::DirentHeader header{};
      header.flags = wire::kDirentAttributes;
      header.handle_size = header.name_size = static_cast<uint16_t>(name.size());
      header.record_size = static_cast<uint16_t>((raw + 7) & ~size_t{7});
      CHECK(state->size + header.record_size <= state->destination.bytes.size());
      std::byte* to = state->destination.bytes.data() + state->size;
      std::memcpy(to, &header, sizeof header);
      std::memcpy(to + sizeof header, &attributes, sizeof attributes);
      std::memcpy(to + sizeof header + sizeof attributes, name.data(), name.size());
      state->size += header.record_size;
    }
  };
  operation.answer = [state] {
    state->reply.Complete(Payload{
        state->destination.bytes.first(state->size), std::move(state->destination.hold), {}});
  };
  owner_.Send(std::move(operation));
}

}  // namespace rdmafs
