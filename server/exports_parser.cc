// Exports::Parse: the syntax of exports(5).
#include <algorithm>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "server/exports.h"

namespace rdmafs {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;

bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\r'; }
bool IsOctal(char c) { return c >= '0' && c <= '7'; }

// One logical line after the other, and the words in it.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_(text) {}

  int line() const { return line_; }
  bool at_end() const { return rest_.empty(); }

  // The next word of the logical line; nothing at its end, which is taken then. A status for what
  // cannot be.
  absl::StatusOr<std::optional<std::string>> Word() {
    SkipBlanks();
    if (!rest_.empty() && rest_.front() == '#')
      rest_.remove_prefix(std::min(rest_.find('\n'), rest_.size()));
    if (rest_.empty()) return std::nullopt;
    if (rest_.front() == '\n') {
      Take();
      return std::nullopt;
    }
    std::string word;
    bool quoted = false;
    while (!rest_.empty() && (quoted || !IsBlank(rest_.front())) && rest_.front() != '\n') {
      if (!quoted && StartsContinuation()) break;
      if (rest_.front() == '"') {
        quoted = !quoted;
        Take();
      } else {
        word += TakeCharacter();
      }
    }
    if (quoted) return absl::InvalidArgumentError("a quotation mark is missing");
    if (word.find('\0') != word.npos)
      return absl::InvalidArgumentError("a NUL is no part of a name");
    return word;
  }

 private:
  char Take() {
    const char c = rest_.front();
    rest_.remove_prefix(1);
    if (c == '\n') ++line_;
    return c;
  }
  // A character, or the one that \040 stands for.
  char TakeCharacter() {
    if (rest_.size() >= 4 && rest_[0] == '\\' && rest_[1] <= '3' && IsOctal(rest_[1]) &&
        IsOctal(rest_[2]) && IsOctal(rest_[3])) {
      const int value = (rest_[1] - '0') * 64 + (rest_[2] - '0') * 8 + (rest_[3] - '0');
      rest_.remove_prefix(4);
      return static_cast<char>(value);
    }
    return Take();
  }
  bool StartsContinuation() const {
    return rest_.starts_with("\\\n") || rest_.starts_with("\\\r\n");
  }
  void SkipBlanks() {
    while (!rest_.empty() && (IsBlank(rest_.front()) || StartsContinuation())) {
      if (rest_.front() == '\\') rest_.remove_prefix(rest_.find('\n'));
      Take();
    }
  }

  std::string_view rest_;
  int line_ = 1;
};

// "client(options)", "client", "(options)" for everyone.
absl::StatusOr<ExportRule> ParseRule(std::string_view word, const ExportOptions& defaults) {
  ExportRule rule{ClientPattern(), defaults};
  const size_t open = word.find('(');
  const std::string_view client = word.substr(0, open);
  auto pattern = ClientPattern::Parse(client.empty() ? "*" : client);
  if (!pattern.ok()) return pattern.status();
  rule.client = *std::move(pattern);
  if (open == word.npos) return rule;
  if (word.back() != ')')
    return absl::InvalidArgumentError(
        absl::StrCat("a parenthesis is missing: ", std::string(word)));
  absl::Status status =
      ApplyExportOptions(word.substr(open + 1, word.size() - open - 2), rule.options);
  if (!status.ok()) return status;
  return rule;
}

// The clients of a line whose path was read. "-options" sets what the clients behind it begin with.
absl::Status ParseClients(Scanner& scanner, Export& exported) {
  ExportOptions defaults;
  while (true) {
    auto word = scanner.Word();
    if (!word.ok()) return word.status();
    if (!word->has_value()) break;
    if ((*word)->starts_with("-")) {
      if (absl::Status status = ApplyExportOptions(std::string_view(**word).substr(1), defaults);
          !status.ok())
        return status;
      continue;
    }
    auto rule = ParseRule(**word, defaults);
    if (!rule.ok()) return rule.status();
    exported.rules.push_back(*std::move(rule));
  }
  if (exported.rules.empty())
    return absl::InvalidArgumentError(
        absl::StrCat(exported.path, " is exported to nobody: name clients, or *"));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Exports> Exports::Parse(std::string_view text, const std::string& file) {
  Exports exports;
  Scanner scanner(text);
  while (!scanner.at_end()) {
    const int line = scanner.line();
    const auto at_line = [&](const absl::Status& status) {
      return absl::InvalidArgumentError(absl::StrCat(file, ":", line, ": ", status.message()));
    };
    auto word = scanner.Word();
    if (!word.ok()) return at_line(word.status());
    if (!word->has_value()) continue;
    auto path = NormalPath(**word);
    if (!path)
      return at_line(absl::InvalidArgumentError(absl::StrCat("not an absolute path: ", **word)));
    Export exported{*path};
    if (absl::Status status = ParseClients(scanner, exported); !status.ok()) return at_line(status);
    exports.exports_.push_back(std::move(exported));
    if (absl::Status status = exports.Finish(); !status.ok()) return at_line(status);
  }
  return exports;
}

absl::StatusOr<Exports> Exports::Load(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) return absl::NotFoundError(absl::StrCat(file, ": ", Errno(errno).ToString()));
  std::string text(kMaxFileBytes + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (stream.bad()) return absl::UnavailableError(absl::StrCat(file, ": ", Errno(EIO).ToString()));
  text.resize(static_cast<size_t>(stream.gcount()));
  if (text.size() > kMaxFileBytes)
    return absl::InvalidArgumentError(absl::StrCat(file, ": larger than 1 MiB"));
  return Parse(text, file);
}

}  // namespace rdmafs
