// Reply<T>: exactly one answer, whatever happens to it.
#include "transport/base/reply.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace rdmafs {
namespace {

TEST(Reply, CompletesOnceWithItsValue) {
  std::vector<int> answers;
  Reply<int> reply = [&](Result<int> result) { answers.push_back(*result); };
  EXPECT_TRUE(reply);
  reply.Complete(7);
  EXPECT_FALSE(reply);
  EXPECT_EQ(answers, std::vector<int>{7});
}

TEST(Reply, DestroyedUnansweredItAnswersEIO) {
  std::vector<Errno> answers;
  {
    Reply<int> reply = [&](Result<int> result) { answers.push_back(result.error()); };
  }
  EXPECT_EQ(answers, std::vector<Errno>{Errno(EIO)});
}

TEST(Reply, AMovedReplyAnswersOnceOnly) {
  int count = 0;
  {
    Reply<int> first = [&](Result<int>) { ++count; };
    Reply<int> second = std::move(first);
    EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): that is the point
    second.Complete(1);
  }
  EXPECT_EQ(count, 1);
}

TEST(Reply, OverwrittenUnansweredItAnswersEIO) {
  std::vector<Errno> answers;
  Reply<int> reply = [&](Result<int> result) { answers.push_back(result.error()); };
  reply = Reply<int>();
  EXPECT_EQ(answers, std::vector<Errno>{Errno(EIO)});
}

TEST(Reply, TheAnswerMayReplaceTheReplyItCameThrough) {
  int second = 0;
  Reply<int> reply;
  reply = [&](Result<int>) { reply = [&](Result<int> result) { second = *result; }; };
  reply.Complete(1);
  reply.Complete(2);
  EXPECT_EQ(second, 2);
}

TEST(Reply, CarriesWhatCannotBeCopied) {
  std::unique_ptr<int> got;
  Reply<std::unique_ptr<int>> reply = [&](Result<std::unique_ptr<int>> result) {
    got = std::move(result).value();
  };
  reply.Complete(std::make_unique<int>(3));
  EXPECT_EQ(*got, 3);
}

}  // namespace
}  // namespace rdmafs
