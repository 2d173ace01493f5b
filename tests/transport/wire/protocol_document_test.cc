// docs/protocol.md says what the code says: every operation with its number and name, and the
// limits.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include "transport/wire/messages.h"

namespace rdmafs::wire {
namespace {

std::string Trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(' ');
  return first == std::string::npos ? ""
                                    : text.substr(first, text.find_last_not_of(' ') - first + 1);
}

// The first two columns of the table below the heading.
std::map<std::string, std::string> TableBelow(const std::string& heading) {
  std::map<std::string, std::string> rows;
  std::ifstream document(RDMAFS_SOURCE_DIR "/docs/protocol.md");
  bool below = false;
  for (std::string line; std::getline(document, line);) {
    if (line.rfind("## ", 0) == 0) below = line == "## " + heading;
    if (!below || line.rfind("| ", 0) != 0 || line.rfind("| ---", 0) == 0) continue;
    std::istringstream cells(line.substr(1));
    std::string first, second;
    std::getline(cells, first, '|');
    std::getline(cells, second, '|');
    EXPECT_TRUE(rows.emplace(Trimmed(first), Trimmed(second)).second) << line;
  }
  return rows;
}

TEST(ProtocolDocument, HasARowForEveryOperationAndForNoOther) {
  std::map<std::string, std::string> expected{{"number", "name"}};
  for (Opcode opcode : AllOpcodes()) {
    expected[std::to_string(static_cast<int>(opcode))] = OpcodeName(opcode);
  }
  EXPECT_EQ(TableBelow("Operations"), expected);
}

TEST(ProtocolDocument, TellsTheLimitsThatTheCodeHas) {
  const std::map<std::string, std::string> expected{
      {"name", "value"},
      {"kMaxPayloadBytes", std::to_string(kMaxPayloadBytes)},
      {"kMaxInlineBytes", std::to_string(kMaxInlineBytes)},
      {"kMaxBodyBytes", std::to_string(kMaxBodyBytes)},
      {"kDefaultCredits", std::to_string(kDefaultCredits)},
      {"kMaxCredits", std::to_string(kMaxCredits)},
      {"kMaxNameBytes", std::to_string(kMaxNameBytes)},
      {"kMaxPathBytes", std::to_string(kMaxPathBytes)},
      {"kMaxHandleBytes", std::to_string(kMaxHandleBytes)},
      {"kMaxGroups", std::to_string(kMaxGroups)},
      {"kMaxXattrBytes", std::to_string(kMaxXattrBytes)},
  };
  EXPECT_EQ(TableBelow("Limits"), expected);
}

}  // namespace
}  // namespace rdmafs::wire
