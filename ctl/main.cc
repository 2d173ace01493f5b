// rdmafsctl: shows what mounts and servers of this host are doing, and what the host lacks.
#include <cstdio>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "ctl/command_line.h"
#include "ctl/control_client.h"
#include "ctl/doctor.h"
#include "ctl/text_report.h"
#include "transport/control/control_path.h"

namespace rdmafs {
namespace {

using Json = nlohmann::ordered_json;

constexpr Nanoseconds kPatience = 2 * kSecond;

void Complain(const std::string& text) { std::fprintf(stderr, "rdmafsctl: %s\n", text.c_str()); }

int RunDoctor(const CommandLine& line) {
  const std::vector<Finding> findings = Examine(Host(line.root), line.require_rdma);
  std::fputs((line.json ? FindingsJson(findings) : FindingsText(findings)).c_str(), stdout);
  return AllFine(findings) ? 0 : 1;
}

// The document that `socket` answers with, or why there is none in `complaints`. A socket that
// nobody listens on is left by a program that was killed: not worth a word unless it was asked for
// by name.
std::optional<Json> Ask(const std::string& socket, const char* command, bool named,
                        std::vector<std::string>& complaints) {
  absl::StatusOr<std::string> answer = AskControlSocket(socket, command, kPatience);
  if (!answer.ok()) {
    if (named || !absl::IsNotFound(answer.status()))
      complaints.emplace_back(answer.status().message());
    return std::nullopt;
  }
  Json document = Json::parse(*answer, nullptr, false);
  if (document.is_object()) return document;
  complaints.push_back(socket + ": answered with something that is no JSON document");
  return std::nullopt;
}

// Where "/mnt/" and "mnt" are looked for: lexically only, as a mount whose server is gone may make
// whoever looks at it wait.
std::string Absolute(const std::string& path) {
  std::string absolute = std::filesystem::absolute(path).lexically_normal().string();
  while (absolute.size() > 1 && absolute.back() == '/') absolute.pop_back();
  return absolute;
}

bool IsServerSocket(const std::string& socket) {
  return std::filesystem::path(socket).filename().string().rfind("rdmafsd.", 0) == 0;
}

bool IsMountedAt(const Json& document, const std::string& directory) {
  const auto found = document.find("mount_point");
  return found != document.end() && found->is_string() && found->get<std::string>() == directory;
}

// The document of the one mount or socket that the command line names. Others that do not answer
// are no matter when it does.
std::vector<Json> CollectNamed(const std::string& target, const char* command) {
  std::vector<std::string> complaints;
  for (const std::string& socket : FindControlSockets(ControlDirectories())) {
    if (socket == target || IsServerSocket(socket)) continue;
    std::optional<Json> document = Ask(socket, command, false, complaints);
    if (document && IsMountedAt(*document, target)) return {*std::move(document)};
  }
  std::optional<Json> document = Ask(target, command, true, complaints);
  if (document) return {*std::move(document)};
  for (const std::string& complaint : complaints) Complain(complaint);
  return {};
}

// All documents that the command line asks for.
std::vector<Json> Collect(const CommandLine& line, const char* command) {
  if (!line.target.empty()) return CollectNamed(Absolute(line.target), command);
  std::vector<Json> documents;
  std::vector<std::string> complaints;
  for (const std::string& socket : FindControlSockets(ControlDirectories())) {
    if (line.server && !IsServerSocket(socket)) continue;
    std::optional<Json> document = Ask(socket, command, false, complaints);
    if (document) documents.push_back(*std::move(document));
  }
  for (const std::string& complaint : complaints) Complain(complaint);
  return documents;
}

int RunQuery(const CommandLine& line) {
  const bool status = line.action == CommandLine::Action::kStatus;
  const std::vector<Json> documents = Collect(line, status ? "status" : "stats");
  if (line.json) {
    const bool one = !line.target.empty() && documents.size() == 1;
    const Json all = one ? documents[0] : Json(documents);
    std::printf("%s\n", all.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
  } else {
    for (const Json& document : documents) {
      std::fputs((status ? StatusText(document) : StatisticsText(document)).c_str(), stdout);
    }
  }
  if (documents.empty() && line.target.empty()) {
    Complain(line.server ? "no rdmafsd found on this host"
                         : "no mounts or servers of this user found on this host");
  }
  return documents.empty() ? 1 : 0;
}

int Main(int argc, char** argv) {
  absl::StatusOr<CommandLine> line = ParseCommandLine(argc, argv);
  if (!line.ok()) {
    Complain(std::string(line.status().message()));
    return 2;
  }
  switch (line->action) {
    case CommandLine::Action::kHelp: return std::fputs(kHelpText, stdout) < 0;
    case CommandLine::Action::kVersion: return std::printf("rdmafsctl %s\n", RDMAFS_VERSION) < 0;
    case CommandLine::Action::kDoctor: return RunDoctor(*line);
    case CommandLine::Action::kStatus:
    case CommandLine::Action::kStatistics: return RunQuery(*line);
  }
  return 2;
}

}  // namespace
}  // namespace rdmafs

int main(int argc, char** argv) { return rdmafs::Main(argc, argv); }
