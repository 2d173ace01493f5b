// What may be in a key file, and who may read it.
#include "transport/auth/key_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"

namespace rdmafs::auth {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

const std::string kHex = "a0a1a2a3a4a5a6a7a8a9aAaBACADAEAFb0b1b2b3b4b5b6b7b8b9babbbcbdbebf";
const std::string kBase64 = "oKGio6SlpqeoqaqrrK2ur7CxsrO0tba3uLm6u7y9vr8=";

std::string Complaint(const std::string& text) {
  auto keys = ParseKeys(text, "FILE");
  EXPECT_FALSE(keys.ok()) << text;
  return keys.ok() ? "" : std::string(keys.status().message());
}

TEST(ParseKeys, ReadsNamesSecretsAndOptionsWithComments) {
  auto keys = ParseKeys("# keys\n\n one " + kHex + "\ntwo\t" + kBase64 +
                            "  all_squash,anonuid=7 # for the guests\r\n",
                        "FILE");
  ASSERT_TRUE(keys.ok()) << keys.status();
  ASSERT_EQ(keys->size(), 2u);
  EXPECT_EQ((*keys)[0].name, "one");
  EXPECT_EQ((*keys)[0].options, "");
  EXPECT_EQ((*keys)[1].options, "all_squash,anonuid=7");
  EXPECT_EQ((*keys)[0].secret.bytes(), (*keys)[1].secret.bytes());
  EXPECT_EQ((*keys)[0].secret.bytes()[31], 0xbf);
}

TEST(ParseKeys, SaysWhichLineIsWrongAndNothingOfTheSecret) {
  EXPECT_THAT(Complaint("a " + kHex + "\nb"), HasSubstr("FILE:2: a secret is missing"));
  EXPECT_THAT(Complaint("a " + kHex.substr(1)),
              AllOf(HasSubstr("FILE:1: "), Not(HasSubstr("a1a2"))));
  EXPECT_THAT(Complaint("a " + kHex.substr(1) + "g"), Not(HasSubstr("a1a2")));
  EXPECT_THAT(Complaint("a " + kBase64.substr(4)), HasSubstr("32 bytes"));
  EXPECT_THAT(Complaint("a " + kHex + " ro more"), HasSubstr("more than"));
  EXPECT_THAT(Complaint("a " + kHex + "\na " + kHex), HasSubstr("FILE:2: a second key 'a'"));
  // A secret in the place of the name.
  EXPECT_THAT(Complaint("=" + kHex + " a"),
              AllOf(HasSubstr("the name of a key"), Not(HasSubstr("a1a2"))));
}

TEST(ParseKeys, WantsAKeyAndNotTooMany) {
  EXPECT_THAT(Complaint(""), HasSubstr("no key"));
  EXPECT_THAT(Complaint("# " + kHex), HasSubstr("no key"));
  std::string many;
  for (size_t i = 0; i < kMaxKeys; ++i) absl::StrAppend(&many, "k", i, " ", kHex, "\n");
  EXPECT_TRUE(ParseKeys(many, "FILE").ok());
  EXPECT_THAT(Complaint(many + "last " + kHex), HasSubstr("more than 1024"));
}

class LoadKeysTest : public testing::Test {
 protected:
  LoadKeysTest() { std::filesystem::create_directory(directory_); }
  ~LoadKeysTest() override { std::filesystem::remove_all(directory_); }
  void Write(const std::string& content, mode_t mode) {
    std::ofstream(path_) << content;
    ASSERT_EQ(chmod(path_.c_str(), mode), 0);
  }
  std::string Complaint() {
    auto keys = LoadKeys(path_);
    EXPECT_FALSE(keys.ok());
    return keys.ok() ? "" : std::string(keys.status().message());
  }

  const std::string directory_ = absl::StrCat(testing::TempDir(), "/keys.", getpid());
  const std::string path_ = directory_ + "/keys";
};

TEST_F(LoadKeysTest, TakesAFileOfMode0600) {
  Write("a " + kHex, 0600);
  EXPECT_TRUE(LoadKeys(path_).ok());
  ASSERT_EQ(chmod(path_.c_str(), 0400), 0);
  EXPECT_TRUE(LoadKeys(path_).ok());
}

TEST_F(LoadKeysTest, RefusesAFileThatOthersMayUse) {
  for (mode_t mode : {0640, 0604, 0620, 0602, 0610, 0601}) {
    Write("a " + kHex, mode);
    EXPECT_THAT(Complaint(), AllOf(HasSubstr(path_), HasSubstr("0600"), Not(HasSubstr("a1a2"))));
  }
}

TEST_F(LoadKeysTest, RefusesAFileOfAnotherUser) {
  Write("a " + kHex, 0600);
  ASSERT_EQ(chown(path_.c_str(), 12345, 12345), 0)
      << "needs root: nobody else can give a file away";
  EXPECT_THAT(Complaint(), HasSubstr("belongs to uid 12345"));
}

TEST_F(LoadKeysTest, RefusesWhatIsNotThereAndWhatIsNoFile) {
  EXPECT_THAT(Complaint(), HasSubstr("No such file"));
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  EXPECT_THAT(Complaint(), HasSubstr("not a regular file"));
}

TEST_F(LoadKeysTest, BoundsWhatItReads) {
  Write(std::string(kMaxKeyFileBytes, '#'), 0600);
  EXPECT_THAT(Complaint(), HasSubstr("no key"));
  Write(std::string(kMaxKeyFileBytes + 1, '#'), 0600);
  EXPECT_THAT(Complaint(), HasSubstr("larger than"));
}

TEST_F(LoadKeysTest, AStampChangesWithTheFile) {
  EXPECT_EQ(KeyFileStamp(path_), "");
  Write("a " + kHex, 0600);
  const std::string before = KeyFileStamp(path_);
  EXPECT_NE(before, "");
  Write("ab " + kHex, 0600);
  EXPECT_NE(KeyFileStamp(path_), before);
}

}  // namespace
}  // namespace rdmafs::auth
