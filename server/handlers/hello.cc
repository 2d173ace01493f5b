// HELLO, ATTACH, PING and RETIRE: how a connection comes to serve.
#include "server/channel.h"
#include "server/handlers/handlers.h"
#include "server/server_context.h"
#include "transport/base/log.h"

namespace rdmafs::server {
namespace {

constexpr int kMaxFailedHellos = 2;

SessionId AskedFor(const wire::HelloRequest& hello) {
  return {{hello.fixed.session[0], hello.fixed.session[1]}};
}

Result<std::shared_ptr<Session>> FindSession(Call& call, const wire::HelloRequest& hello) {
  SessionTable& sessions = call.context().sessions;
  const std::string_view host = call.channel().peer_host();
  const SessionId id = AskedFor(hello);
  // A session ends with its connections: the first connection of a client that comes back after a
  // loss has a new one, and sees it by the id in the answer.
  return id.none() || hello.fixed.channel == 0 ? sessions.Create(host) : sessions.Join(id, host);
}

wire::HelloReply Welcome(const ServerContext& context, const Session& session) {
  wire::HelloReply reply;
  reply.fixed = {.version = wire::kVersion,
                 .max_payload = wire::kMaxPayloadBytes,
                 .session = {session.id().words[0], session.id().words[1]},
                 .server = {context.server_id[0], context.server_id[1]},
                 .boot = {context.boot_id[0], context.boot_id[1]},
                 .lease_ms = 0,
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

void Begin(Call& call) {
  const auto& hello = call.request<wire::HelloRequest>();
  Channel& channel = call.channel();
  if (!channel.open()) return Call::Finish(call);
  Result<std::shared_ptr<Session>> session = FindSession(call, hello);
  if (!session.ok()) return Refuse(call, session.error());
  if (!channel.Enter(*session)) return Refuse(call, Errno(ESTALE));
  if (hello.fixed.channel == 0) {
    Log(LogLevel::kNotice, "client ", channel.peer(), ": session ", (*session)->number(),
        " begins over ", channel.connection().transport_name());
  }
  call.Answer(Welcome(call.context(), **session));
  Call::Finish(call);
}

}  // namespace

void ServeHello(Call& call) {
  const auto& hello = call.request<wire::HelloRequest>();
  call.channel().HelloCame();
  if (hello.fixed.magic != wire::kMagic) return call.Breach("hello without the magic number");
  if (hello.fixed.version != wire::kVersion) return Refuse(call, Errno(EPROTONOSUPPORT));
  std::shared_ptr<Session> lost;
  if (hello.fixed.channel == 0 && !AskedFor(hello).none()) {
    lost = call.context().sessions.Fence(AskedFor(hello), call.channel().peer_host());
  }
  if (lost == nullptr) return Begin(call);
  // Not before the old connections are gone: nothing of theirs may happen after what the client
  // does now, and the locks that it takes again must be free.
  lost->WhenOver([&call] { call.Resume(Begin); });
}

void ServeAttach(Call& call) { call.OnWorker(Attach); }

void ServePing(Call& call) { Call::Finish(call); }

void ServeRetire(Call& call) {
  const auto& r = call.request<wire::RetireRequest>();
  // Slots live as long as their connection: what was given up on an earlier one was answered there.
  if (call.channel().FindCall(r.slot, r.sequence) != nullptr) return call.Fail(Errno(EBUSY));
  Call::Finish(call);
}

}  // namespace rdmafs::server
