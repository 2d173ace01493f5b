// HELLO, ATTACH, PING and RETIRE: how a connection comes to serve.
#include "server/channel.h"
#include "server/grace_period.h"
#include "server/handlers/handlers.h"
#include "server/limits.h"
#include "server/server_context.h"
#include "server/session_end.h"
#include "transport/base/log.h"

namespace rdmafs::server {
namespace {

constexpr int kMaxFailedHellos = 2;

SessionId AskedFor(const wire::HelloRequest& hello) {
  return {{hello.fixed.session[0], hello.fixed.session[1]}};
}

wire::HelloReply Welcome(const ServerContext& context, const Session& session) {
  wire::HelloReply reply;
  reply.fixed = {.version = wire::kVersion,
                 .max_payload = wire::kMaxPayloadBytes,
                 .session = {session.id().words[0], session.id().words[1]},
                 .server = {context.server_id[0], context.server_id[1]},
                 .boot = {context.boot_id[0], context.boot_id[1]},
                 .lease_ms = static_cast<uint32_t>(context.lease / kMillisecond),
                 .reserved = 0};
  return reply;
}

void Attach(Call& call) {
  Result<ExportSource::Found> found =
      call.context().exports.Find(PeerOf(call.channel().peer()), call.inline_text());
  if (!found.ok()) return call.AnswerError(found.error());
  // As the server itself, like mountd: whether the caller may go through the directories above does
  // not count; what it may do in this one is asked with every call.
  const Identity server{.umask = 022};
  Result<StoreEntry> root = found->attachment->store->Attach(server, found->below);
  if (root.ok() && !call.session().Attach(found->attachment)) root = Errno(EMFILE);
  if (!root.ok()) return call.AnswerError(root.error());
  call.AnswerEntry(root, found->attachment->flags());
}

}  // namespace

namespace {

void Refuse(Call& call, Errno error) {
  Channel& channel = call.channel();
  Log(LogLevel::kNotice, "client ", channel.peer(), ": hello refused: ", error.ToString());
  if (channel.CountFailedHello() > kMaxFailedHellos) return call.Breach("too many failed hellos");
  channel.AwaitHello();  // it may say another
  call.Fail(error);
}

// The session that the hello asks for, or nullptr.
std::shared_ptr<Session> FindSession(Call& call) {
  const SessionId id = AskedFor(call.request<wire::HelloRequest>());
  if (id.none()) return nullptr;
  Result<std::shared_ptr<Session>> session = call.context().sessions.Find(id);
  return session.ok() ? *session : nullptr;
}

Result<std::shared_ptr<Session>> MakeSession(Call& call) {
  SessionTable& sessions = call.context().sessions;
  if (const std::shared_ptr<Session> oldest = sessions.OldestIdle()) {
    if (oldest->BeginEnd()) EndSession(call.context(), oldest);
  }
  return sessions.Create(call.channel().peer_host());
}

void Begin(Call& call);

void Enter(Call& call, const std::shared_ptr<Session>& session) {
  const auto& hello = call.request<wire::HelloRequest>();
  Channel& channel = call.channel();
  const auto again = [&call] { call.Resume(Begin); };
  switch (channel.Enter(session, hello.fixed.channel, hello.fixed.epoch, again)) {
    case Session::Joined::kYes:
      break;
    case Session::Joined::kLater:
      return;
    case Session::Joined::kSuperseded:
      return Refuse(call, Errno(ESTALE));
    case Session::Joined::kOver:
      if (hello.fixed.channel != 0) return Refuse(call, Errno(ESTALE));
      // Nothing of the old session may happen after what the client does now, and the locks that it
      // takes again must be free.
      session->CloseConnections();
      return session->WhenOver(again);
  }
  if (hello.fixed.channel == 0) {
    Log(LogLevel::kNotice, "client ", channel.peer(), ": session ", session->number(),
        AskedFor(hello) == session->id() ? " goes on over " : " begins over ",
        channel.connection().transport_name());
  }
  call.Answer(Welcome(call.context(), *session));
  Call::Finish(call);
}

// A client that comes by another of its addresses may go on when that one has the same rights to
// all that the session attached. On a worker.
void CompareRights(Call& call) {
  const std::shared_ptr<Session> session = FindSession(call);
  if (session == nullptr) return;
  const auto attachments = session->attachments();
  bool same = !attachments.empty();
  for (const auto& attachment : attachments) {
    Result<ExportSource::Found> found =
        call.context().exports.Find(PeerOf(call.channel().peer()), attachment->path);
    same = same && found.ok() && found->attachment->export_id == attachment->export_id &&
           found->attachment->store == attachment->store &&
           found->attachment->SameRules(*attachment);
  }
  if (!same) call.AnswerError(Errno(EACCES));
}

void EnterFromElsewhere(Call& call) {
  if (!call.channel().open()) return Call::Finish(call);
  if (!call.status().ok()) return Refuse(call, call.status());
  const std::shared_ptr<Session> session = FindSession(call);
  if (session == nullptr) return Begin(call);  // it ended meanwhile
  Enter(call, session);
}

void Begin(Call& call) {
  const auto& hello = call.request<wire::HelloRequest>();
  Channel& channel = call.channel();
  if (!channel.open()) return Call::Finish(call);
  if (hello.fixed.channel >= kMaxChannelsPerSession) return Refuse(call, Errno(EMFILE));
  if (const std::shared_ptr<Session> session = FindSession(call)) {
    if (session->peer_host() == channel.peer_host()) return Enter(call, session);
    return call.OnWorker(CompareRights, EnterFromElsewhere);
  }
  // The first connection of a client that comes back too late has a new session, and sees it by the
  // id in the answer.
  if (hello.fixed.channel != 0 && !AskedFor(hello).none()) return Refuse(call, Errno(ESTALE));
  Result<std::shared_ptr<Session>> session = MakeSession(call);
  if (!session.ok()) return Refuse(call, session.error());
  Enter(call, *session);
}

}  // namespace

void ServeHello(Call& call) {
  const auto& hello = call.request<wire::HelloRequest>();
  call.channel().HelloCame();
  if (hello.fixed.magic != wire::kMagic) return call.Breach("hello without the magic number");
  if (hello.fixed.version != wire::kVersion) return Refuse(call, Errno(EPROTONOSUPPORT));
  Begin(call);
}

void ServeAttach(Call& call) { call.OnWorker(Attach); }

void ServePing(Call& call) {
  // In the set-up slot: the client has opened its files and taken its locks again.
  if (call.header().slot == wire::kSetUpSlot &&
      call.context().locks.HeldBy(call.session().number()) != 0 && call.session().MarkReclaimed()) {
    call.context().grace.Reclaimed();
  }
  Call::Finish(call);
}

void ServeRetire(Call& call) {
  const auto& r = call.request<wire::RetireRequest>();
  call.AnswerError(call.channel().Retire(r.slot, r.sequence));
  Call::Finish(call);
}

void ServeEnd(Call& call) {
  call.session().SayFarewell();
  Call::Finish(call);
}

}  // namespace rdmafs::server
