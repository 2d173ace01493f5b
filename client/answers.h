// How answers become results: decoding of reply bodies, one function for each shape.
#pragma once

#include "client/file_system.h"
#include "transport/rpc/call_channel.h"

namespace rdmafs {

// The reply's body as a Message, or why there is none. EIO: a reply that does not decode.
template <typename Message>
Result<Message> DecodeAnswer(const Answer& answer) {
  if (!answer.error.ok()) return answer.error;
  wire::Decoder decoder(answer.body());
  Message message;
  if (!message.Code(decoder) || !decoder.AtEnd()) return Errno(EIO);
  return message;
}

// What a reply carried as payload: in the message, or in the memory that the call exposed.
inline Result<Payload> TakePayload(Answer answer) {
  if (!answer.error.ok()) return answer.error;
  const wire::MessageHeader& header = answer.message.header();
  if (header.inline_size != 0) {
    absl::Span<const std::byte> bytes = answer.message.inline_payload();
    return Payload{bytes, {}, std::move(answer.message)};
  }
  if (header.remote_size > answer.exposed.size()) return Errno(EIO);
  return Payload{answer.exposed.first(header.remote_size), std::move(answer.hold), {},
                 answer.message.payload_pipe()};
}

inline AnswerFunction ToUnit(Reply<Unit> reply) {
  return
      [reply = std::move(reply)](Answer answer) mutable { reply.Complete(ToResult(answer.error)); };
}

inline AnswerFunction ToCount(Reply<uint64_t> reply) {
  return [reply = std::move(reply)](Answer answer) mutable {
    Result<wire::CountReply> decoded = DecodeAnswer<wire::CountReply>(answer);
    if (!decoded.ok()) return reply.Complete(decoded.error());
    reply.Complete(decoded->count);
  };
}

inline AnswerFunction ToAttributes(Reply<Attributes> reply) {
  return [reply = std::move(reply)](Answer answer) mutable {
    Result<wire::AttributesReply> decoded = DecodeAnswer<wire::AttributesReply>(answer);
    if (!decoded.ok()) return reply.Complete(decoded.error());
    reply.Complete(decoded->attributes);
  };
}

inline AnswerFunction ToEntry(Reply<Entry> reply) {
  return [reply = std::move(reply)](Answer answer) mutable {
    Result<wire::EntryReply> decoded = DecodeAnswer<wire::EntryReply>(answer);
    if (!decoded.ok()) return reply.Complete(decoded.error());
    reply.Complete(Entry{decoded->attributes, decoded->handle, {}});
  };
}

inline AnswerFunction ToMade(Reply<Entry> reply) {
  return [reply = std::move(reply)](Answer answer) mutable {
    Result<wire::MadeReply> decoded = DecodeAnswer<wire::MadeReply>(answer);
    if (!decoded.ok()) return reply.Complete(decoded.error());
    reply.Complete(Entry{decoded->entry.attributes, decoded->entry.handle, decoded->parent});
  };
}

inline AnswerFunction ToParent(Reply<Attributes> reply) {
  return [reply = std::move(reply)](Answer answer) mutable {
    Result<wire::NamesReply> decoded = DecodeAnswer<wire::NamesReply>(answer);
    if (!decoded.ok()) return reply.Complete(decoded.error());
    reply.Complete(decoded->parent);
  };
}

inline AnswerFunction ToPayload(Reply<Payload> reply) {
  auto function = [reply = std::move(reply)](Answer answer) mutable {
    reply.Complete(TakePayload(std::move(answer)));
  };
  static_assert(AnswerFunction::kFits<decltype(function)>, "a read must not allocate");
  return function;
}

}  // namespace rdmafs
