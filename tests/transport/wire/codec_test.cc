// The codec: every message comes out as it went in, and nothing else comes out at all.
#include "transport/wire/codec.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>
#include <vector>

#include "tests/transport/wire/random_message.h"
#include "transport/wire/messages.h"

namespace rdmafs::wire {
namespace {

template <typename Message>
concept IsRequest = requires {
  Message::kOpcode;
};

using Messages = testing::Types<
    HelloRequest, HelloReply, AttachRequest, PingRequest, RetireRequest, EndRequest,
    ChallengeRequest, ChallengeReply, ProveRequest, ProveReply, RecallRequest, RecallReply,
    EmptyBody, EntryReply, AttributesReply, CountReply, LookupRequest, UnlinkRequest, RmDirRequest,
    ReadLinkRequest, StatFsRequest, SyncFsRequest, GetAttrRequest, SetAttrRequest, MkNodRequest,
    MkDirRequest, SymLinkRequest, RenameRequest, LinkRequest, AccessRequest, StatFsReply,
    OpenRequest, CreateRequest, TmpFileRequest, ReleaseRequest, ReadRequest, WriteRequest,
    FsyncRequest, FallocateRequest, SeekRequest, CopyFileRangeRequest, ReadDirRequest,
    GetXattrRequest, SetXattrRequest, ListXattrRequest, RemoveXattrRequest, GetLockRequest,
    SetLockRequest, LockReply, CancelRequest, ReleaseOwnerRequest, ForgetRequest>;

template <template <typename...> class List, typename... All>
void CollectOpcodes(List<All...>, std::multiset<Opcode>& opcodes) {
  (
      [&] {
        if constexpr (IsRequest<All>) opcodes.insert(All::kOpcode);
      }(),
      ...);
}

TEST(Messages, EveryOperationHasOneRequestInThisTest) {
  std::multiset<Opcode> tested;
  CollectOpcodes(Messages(), tested);
  const absl::Span<const Opcode> all = AllOpcodes();
  EXPECT_EQ(tested, std::multiset<Opcode>(all.begin(), all.end()));
}

TEST(Messages, OpcodesAreInOrderAndNamed) {
  Opcode last{};
  for (Opcode opcode : AllOpcodes()) {
    EXPECT_LT(last, opcode);
    ASSERT_NE(OpcodeName(opcode), nullptr);
    last = opcode;
  }
  EXPECT_EQ(OpcodeName(Opcode{0}), nullptr);
  EXPECT_EQ(OpcodeName(Opcode{999}), nullptr);
}

using Space = std::array<std::byte, kMaxBodyBytes>;

template <typename Message>
class EveryMessage : public testing::Test {
 protected:
  // A message of random values, encoded.
  std::vector<std::byte> Encoded(uint32_t seed) {
    RandomFields fields(seed);
    Message message;
    EXPECT_TRUE(message.Code(fields));
    const auto bytes = Encode(message, absl::MakeSpan(space));
    return std::vector<std::byte>(bytes.begin(), bytes.end());
  }
  Space space;
};
TYPED_TEST_SUITE(EveryMessage, Messages);

TYPED_TEST(EveryMessage, ComesOutAsItWentIn) {
  for (uint32_t seed = 1; seed <= 50; ++seed) {
    const std::vector<std::byte> bytes = this->Encoded(seed);
    Decoder decoder(bytes);
    TypeParam message;
    ASSERT_TRUE(message.Code(decoder)) << "seed " << seed;
    EXPECT_TRUE(decoder.AtEnd());
    const auto again = Encode(message, absl::MakeSpan(this->space));
    EXPECT_EQ(std::vector<std::byte>(again.begin(), again.end()), bytes) << "seed " << seed;
  }
}

TYPED_TEST(EveryMessage, IsRefusedWhenAnyNumberOfBytesIsMissing) {
  const std::vector<std::byte> bytes = this->Encoded(3);
  for (size_t size = 0; size < bytes.size(); ++size) {
    // A copy of its own, so that a sanitizer sees a byte read too many.
    const std::vector<std::byte> cut(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size));
    Decoder decoder(cut);
    TypeParam message;
    EXPECT_FALSE(message.Code(decoder)) << size << " of " << bytes.size();
    EXPECT_FALSE(decoder.AtEnd());
  }
}

TYPED_TEST(EveryMessage, IsNotAtItsEndWithAByteBehindIt) {
  std::vector<std::byte> bytes = this->Encoded(4);
  bytes.push_back(std::byte{0});
  Decoder decoder(bytes);
  TypeParam message;
  EXPECT_TRUE(message.Code(decoder));
  EXPECT_FALSE(decoder.AtEnd());
}

TYPED_TEST(EveryMessage, FitsItsSpaceOrIsNotWritten) {
  const std::vector<std::byte> bytes = this->Encoded(5);
  RandomFields fields(5);
  TypeParam message;
  message.Code(fields);
  for (size_t size = 0; size < bytes.size(); ++size) {
    std::vector<std::byte> little(size);
    EXPECT_TRUE(Encode(message, absl::MakeSpan(little)).empty());
  }
}

// Hostile lengths among them. What is taken for sound must stand within the body.
TYPED_TEST(EveryMessage, SurvivesAnyChangedByte) {
  std::mt19937 random(6);
  const std::vector<std::byte> original = this->Encoded(6);
  for (size_t at = 0; at < original.size(); ++at) {
    for (int change : {0x01, 0x80, 0xff, static_cast<int>(random() % 255 + 1)}) {
      std::vector<std::byte> bytes = original;
      bytes[at] ^= static_cast<std::byte>(change);
      Decoder decoder(bytes);
      TypeParam message;
      if (!message.Code(decoder)) continue;
      EXPECT_FALSE(Encode(message, absl::MakeSpan(this->space)).empty() && !bytes.empty());
    }
  }
}

// --- Fields ---

std::vector<std::byte> Prefixed(uint16_t size, std::string_view text) {
  std::vector<std::byte> bytes(sizeof size + text.size());
  std::memcpy(bytes.data(), &size, sizeof size);
  std::memcpy(bytes.data() + sizeof size, text.data(), text.size());
  return bytes;
}

bool DecodesAsName(std::string_view text) {
  const std::vector<std::byte> bytes = Prefixed(static_cast<uint16_t>(text.size()), text);
  Decoder decoder(bytes);
  std::string_view name;
  return decoder.Name(name) && name == text;
}

TEST(Decoder, ANameIsOneComponentOfAPath) {
  EXPECT_TRUE(DecodesAsName("file"));
  EXPECT_TRUE(DecodesAsName("..."));
  EXPECT_TRUE(DecodesAsName(".hidden"));
  EXPECT_TRUE(DecodesAsName("\xff\xfe not UTF-8"));
  EXPECT_TRUE(DecodesAsName(std::string(255, 'x')));
  EXPECT_FALSE(DecodesAsName(""));
  EXPECT_FALSE(DecodesAsName("."));
  EXPECT_FALSE(DecodesAsName(".."));
  EXPECT_FALSE(DecodesAsName("../secret"));
  EXPECT_FALSE(DecodesAsName("a/b"));
  EXPECT_FALSE(DecodesAsName("/"));
  EXPECT_FALSE(DecodesAsName(std::string_view("a\0b", 3)));
  EXPECT_FALSE(DecodesAsName(std::string(256, 'x')));
}

TEST(Decoder, AHandleHasAtMost128Bytes) {
  FileHandle handle;
  const auto largest = Prefixed(128, std::string(128, 'h'));
  Decoder good(largest);
  ASSERT_TRUE(good.Handle(handle));
  EXPECT_EQ(handle.view(), std::string(128, 'h'));
  const auto larger = Prefixed(129, std::string(129, 'h'));
  Decoder bad(larger);
  EXPECT_FALSE(bad.Handle(handle));
}

TEST(Decoder, ALengthBeyondTheBodyIsRefused) {
  const auto bytes = Prefixed(100, "short");
  std::string_view text;
  Decoder decoder(bytes);
  EXPECT_FALSE(decoder.Bytes(text, 1000));
}

TEST(Decoder, AfterAFaultNothingMoreIsRead) {
  const auto bytes = Prefixed(1, "/and four more bytes");
  Decoder decoder(bytes);
  std::string_view name;
  uint32_t number = 7;
  EXPECT_FALSE(decoder.Name(name));
  EXPECT_FALSE(decoder.Fixed(number));
  EXPECT_EQ(number, 7u);
  EXPECT_FALSE(decoder.ok());
}

TEST(Decoder, ACallerHasAtMost256GroupsAndAUmaskOfNineBits) {
  struct {
    uint32_t uid, gid, umask, pid, group_count;
  } fixed{1, 2, 0777, 4, kMaxGroups};
  auto decodes = [&fixed](size_t groups) {
    std::vector<std::byte> bytes(sizeof fixed + groups * sizeof(uint32_t));
    std::memcpy(bytes.data(), &fixed, sizeof fixed);
    Decoder decoder(bytes);
    Caller caller;
    return decoder.CallerField(caller) && caller.groups.size() == groups;
  };
  EXPECT_TRUE(decodes(kMaxGroups));
  EXPECT_FALSE(decodes(kMaxGroups - 1));
  fixed.group_count = kMaxGroups + 1;
  EXPECT_FALSE(decodes(kMaxGroups + 1));
  fixed.group_count = UINT32_MAX;
  EXPECT_FALSE(decodes(4));
  fixed.group_count = 0;
  fixed.umask = 01000;
  EXPECT_FALSE(decodes(0));
}

TEST(Encoder, RefusesWhatADecoderWould) {
  Space space;
  {
    Encoder encoder(absl::MakeSpan(space));
    EXPECT_FALSE(encoder.Name(std::string(256, 'x')));
    EXPECT_FALSE(encoder.Fixed(uint32_t{1}));
    EXPECT_TRUE(encoder.written().empty());
  }
  const std::vector<uint32_t> groups(kMaxGroups + 1);
  Caller caller;
  caller.groups = groups;
  Encoder encoder(absl::MakeSpan(space));
  EXPECT_FALSE(encoder.CallerField(caller));
}

}  // namespace
}  // namespace rdmafs::wire
