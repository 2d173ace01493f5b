#include "server/session_end.h"

#include <vector>

#include "server/grace_period.h"
#include "server/recall_log.h"

namespace rdmafs::server {
namespace {

struct CloseFiles : WorkItem {
  std::vector<std::shared_ptr<OpenEntry>> files;
};

}  // namespace

void EndSession(const ServerContext& context, const std::shared_ptr<Session>& session) {
  context.locks.ReleaseSession(session->number());
  context.grace.SessionEnds(session->number());
  auto item = std::make_unique<CloseFiles>();
  item->files = session->opens().Close();
  session->WhenOver([&context, session] {
    if (context.recall_log != nullptr) context.recall_log->EndSession(session->id());
    context.sessions.Erase(*session);
  });
  if (item->files.empty()) return;
  item->run = [](WorkItem& self) { delete static_cast<CloseFiles*>(&self); };
  context.workers.Queue(*item.release());
}

}  // namespace rdmafs::server
