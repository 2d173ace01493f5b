// What rdmafsctl understands, and what it refuses.
#include "ctl/command_line.h"

#include <gtest/gtest.h>

#include <vector>

namespace rdmafs {
namespace {

absl::StatusOr<CommandLine> Parse(std::vector<std::string> words) {
  words.insert(words.begin(), "rdmafsctl");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  return ParseCommandLine(static_cast<int>(words.size()), argv.data());
}

TEST(CommandLine, OptionsMayStandBeforeOrBehindTheCommand) {
  for (const auto& words :
       {std::vector<std::string>{"--json", "stats", "/mnt"}, {"stats", "/mnt", "--json"}}) {
    const auto line = Parse(words);
    ASSERT_TRUE(line.ok());
    EXPECT_EQ(line->action, CommandLine::Action::kStatistics);
    EXPECT_TRUE(line->json);
    EXPECT_EQ(line->target, "/mnt");
  }
}

TEST(CommandLine, DoctorTakesItsOwnOptions) {
  const auto line = Parse({"doctor", "--rdma", "--root", "/fake"});
  ASSERT_TRUE(line.ok());
  EXPECT_EQ(line->action, CommandLine::Action::kDoctor);
  EXPECT_TRUE(line->require_rdma);
  EXPECT_EQ(line->root, "/fake");
}

TEST(CommandLine, WhatIsWrongIsRefusedWithALineThatSaysWhat) {
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{}, "a command is missing"},
      {{"frobnicate"}, "unknown command \"frobnicate\""},
      {{"status", "--frobnicate"}, "--frobnicate"},
      {{"status", "a", "b"}, "too many arguments: b"},
      {{"status", "--rdma"}, "--rdma belongs to doctor"},
      {{"status", "--server", "/mnt"}, "either --server or a target"},
      {{"doctor", "/mnt"}, "takes no target"},
      {{"doctor", "--root"}, "--root"},
  };
  for (const auto& [words, text] : cases) {
    const auto line = Parse(words);
    EXPECT_EQ(line.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(std::string(line.status().message()).find(text), std::string::npos) << line.status();
  }
}

TEST(CommandLine, HelpNamesEveryOptionButTheTestsOwn) {
  const std::string help = kHelpText;
  for (const char* word :
       {"status", "stats", "doctor", "--json", "--server", "--rdma", "--help", "--version"}) {
    EXPECT_NE(help.find(word), std::string::npos) << word;
  }
  EXPECT_EQ(help.find("--root"), std::string::npos);
}

}  // namespace
}  // namespace rdmafs
