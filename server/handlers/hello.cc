// HELLO, ATTACH, PING and RETIRE: how a connection comes to serve.
#include "absl/strings/str_cat.h"
#include "server/channel.h"
#include "server/grace_period.h"
#include "server/handlers/begin.h"
#include "server/handlers/handlers.h"
#include "server/limits.h"
#include "server/recall_log.h"
#include "server/server_context.h"
#include "server/session_end.h"
#include "server/shard.h"
#include "transport/base/log.h"

namespace rdmafs::server {
namespace {

constexpr int kMaxFailedHellos = 2;

// What the hello asks for, or the challenge that came in its place.
struct Asked {
  uint16_t channel;
  uint32_t epoch;
  SessionId session;
};
Asked AskedBy(Call& call) {
  const auto fields = [](const auto& fixed) {
    return Asked{fixed.channel, fixed.epoch, {{fixed.session[0], fixed.session[1]}}};
  };
  const Authentication* proof = call.channel().authentication.get();
  return proof != nullptr ? fields(proof->handshake.challenge().fixed)
                          : fields(call.request<wire::HelloRequest>().fixed);
}

// As the exports look at it. `session`: that it belongs to, or wants to.
Exports::Peer PeerIn(const Channel& channel, const Session& session) {
  Exports::Peer peer = PeerOf(channel.peer());
  peer.protection = session.protection();
  if (channel.authentication != nullptr) {
    peer.key = channel.authentication->key.name;
  } else if (const auto key = session.key()) {
    peer.key = key->name;
  }
  return peer;
}

// ", TLS_AES_128_GCM_SHA256, key compute", or nothing.
std::string TlsText(const Connection& connection) {
  const ChannelSecurity* security = connection.security();
  if (security == nullptr) return "";
  return absl::StrCat(", ", security->protocol, " ", security->cipher,
                      security->peer.empty() ? "" : ", ", security->peer);
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
      call.context().exports.Find(PeerIn(call.channel(), call.session()), call.inline_text());
  if (!found.ok()) return call.AnswerError(found.error());
  // As the server itself, like mountd: whether the caller may go through the directories above does
  // not count; what it may do in this one is asked with every call.
  const Identity server{.umask = 022};
  Result<StoreEntry> root = found->attachment->store->Attach(server, found->below);
  if (root.ok() && !call.session().Attach(found->attachment)) root = Errno(EMFILE);
  if (!root.ok()) return call.AnswerError(root.error());
  call.AnswerEntry(root, found->attachment->flags());
}

// The session that it asks for, or nullptr. With a key, only the one whose secret it has proved.
std::shared_ptr<Session> FindSession(Call& call) {
  const SessionId id = AskedBy(call).session;
  const Authentication* proof = call.channel().authentication.get();
  if (id.none() || (proof != nullptr && !proof->handshake.knows_session())) return nullptr;
  Result<std::shared_ptr<Session>> session = call.context().sessions.Find(id);
  return session.ok() ? *session : nullptr;
}

Result<std::shared_ptr<Session>> MakeSession(Call& call) {
  SessionTable& sessions = call.context().sessions;
  if (const std::shared_ptr<Session> oldest = sessions.OldestIdle()) {
    if (oldest->BeginEnd()) EndSession(call.context(), oldest);
  }
  std::optional<Session::KeyProof> proof;
  std::string key;
  if (const Authentication* own = call.channel().authentication.get()) {
    proof = Session::KeyProof{own->key, own->handshake.session_secret()};
    key = own->key.name;
  }
  auto session = sessions.Create(call.channel().peer_host(), std::move(proof),
                                 ProtectionOf(call.channel().connection()));
  if (session.ok()) {
    call.context().grace.SessionBegins((*session)->number(), (*session)->id(),
                                       AskedBy(call).session);
  }
  RecallLog* log = call.context().recall_log;
  if (log != nullptr && session.ok()) {
    // Without room the next process will say that it does not know.
    (void)log->AddSession((*session)->id(), key);
  }
  return session;
}

void AnswerWelcome(Call& call, const Session& session) {
  const wire::HelloReply welcome = Welcome(call.context(), session);
  const std::unique_ptr<Authentication> proof = std::move(call.channel().authentication);
  if (proof != nullptr) {
    call.Answer(proof->handshake.Answer(welcome));
  } else {
    call.Answer(welcome);
  }
}

void Enter(Call& call, const std::shared_ptr<Session>& session) {
  const Asked asked = AskedBy(call);
  Channel& channel = call.channel();
  const auto again = [&call] { call.Resume(BeginSession); };
  switch (channel.Enter(session, asked.channel, asked.epoch, again)) {
    case Session::Joined::kYes:
      break;
    case Session::Joined::kLater:
      return;
    case Session::Joined::kSuperseded:
      return RefuseHello(call, Errno(ESTALE));
    case Session::Joined::kOver:
      if (asked.channel != 0) return RefuseHello(call, Errno(ESTALE));
      // Nothing of the old session may happen after what the client does now, and the locks that it
      // takes again must be free.
      session->CloseConnections();
      return session->WhenOver(again);
  }
  if (channel.authentication != nullptr && !channel.authentication->handshake.joins()) {
    session->SetKey(channel.authentication->key);
  }
  if (asked.channel == 0) {
    const auto key = session->key();
    Log(LogLevel::kNotice, "client ", channel.peer(), ": session ", session->number(),
        asked.session == session->id() ? " goes on over " : " begins over ",
        channel.connection().transport_name(), key ? " with key " : "", key ? key->name : "",
        TlsText(channel.connection()));
  }
  AnswerWelcome(call, *session);
  Call::Finish(call);
}

// A client that comes by another of its addresses, or with another key, may go on when that one has
// the same rights to all that the session attached. On a worker.
void CompareRights(Call& call) {
  const std::shared_ptr<Session> session = FindSession(call);
  if (session == nullptr) return;
  const auto attachments = session->attachments();
  bool same = !attachments.empty();
  for (const auto& attachment : attachments) {
    Result<ExportSource::Found> found =
        call.context().exports.Find(PeerIn(call.channel(), *session), attachment->path);
    same = same && found.ok() && found->attachment->export_id == attachment->export_id &&
           found->attachment->store == attachment->store &&
           found->attachment->SameRules(*attachment);
  }
  if (!same) call.AnswerError(Errno(EACCES));
}

void EnterFromElsewhere(Call& call) {
  if (!call.channel().open()) return Call::Finish(call);
  if (!call.status().ok()) return RefuseHello(call, call.status());
  const std::shared_ptr<Session> session = FindSession(call);
  if (session == nullptr) return BeginSession(call);  // it ended meanwhile
  Enter(call, session);
}

// Whether it comes as it came before.
bool IsKnownTo(const Session& session, const Channel& channel) {
  const Authentication* proof = channel.authentication.get();
  return session.peer_host() == channel.peer_host() &&
         (proof == nullptr || session.key() == proof->key);
}

}  // namespace

void BeginSession(Call& call) {
  const Asked asked = AskedBy(call);
  Channel& channel = call.channel();
  if (!channel.open()) return Call::Finish(call);
  if (asked.channel >= kMaxChannelsPerSession) return RefuseHello(call, Errno(EMFILE));
  if (const std::shared_ptr<Session> session = FindSession(call)) {
    // One that was begun with a key is joined with one.
    if (channel.authentication == nullptr && session->secret()) {
      return RefuseForGood(call, Errno(ENOKEY), "it wants a session of a client that has a key");
    }
    if (ProtectionOf(channel.connection()) < session->protection()) {
      return RefuseForGood(call, Errno(EPROTOTYPE), "it wants a session that was begun with TLS");
    }
    if (IsKnownTo(*session, channel)) return Enter(call, session);
    return call.OnWorker(CompareRights, EnterFromElsewhere);
  }
  // The first connection of a client that comes back too late has a new session, and sees it by the
  // id in the answer.
  const bool joins = channel.authentication != nullptr && channel.authentication->handshake.joins();
  if (joins || (asked.channel != 0 && !asked.session.none())) {
    return RefuseHello(call, Errno(ESTALE));
  }
  Result<std::shared_ptr<Session>> session = MakeSession(call);
  if (!session.ok()) return RefuseHello(call, session.error());
  Enter(call, *session);
}

void RefuseHello(Call& call, Errno error) {
  Channel& channel = call.channel();
  channel.authentication.reset();
  Log(LogLevel::kNotice, "client ", channel.peer(), ": hello refused: ", error.ToString());
  if (channel.CountFailedHello() > kMaxFailedHellos) return call.Breach("too many failed hellos");
  channel.AwaitHello();  // it may say another
  call.Fail(error);
}

void RefuseForGood(Call& call, Errno error, std::string_view why) {
  Channel& channel = call.channel();
  channel.HelloCame();
  call.context().breaches.Write(channel.connection().transport_name(), channel.peer(), why);
  call.AnswerError(error);
  call.shard().loop().After(kRefusalDelay, [&call] {
    Channel& refused = call.channel();
    refused.authentication.reset();
    if (refused.open()) refused.CloseSoon();
    Call::Finish(call);
  });
}

bool RefuseWithoutTls(Call& call) {
  if (!call.context().tls_required || call.channel().connection().security() != nullptr)
    return false;
  RefuseForGood(call, Errno(EPROTOTYPE),
                "it comes without TLS, and everybody must have it (tls=required)");
  return true;
}

void ServeHello(Call& call) {
  const auto& hello = call.request<wire::HelloRequest>();
  call.channel().HelloCame();
  call.channel().GiveBackPlace();
  if (hello.fixed.magic != wire::kMagic) return call.Breach("hello without the magic number");
  if (hello.fixed.version != wire::kVersion) return RefuseHello(call, Errno(EPROTONOSUPPORT));
  if (RefuseWithoutTls(call)) return;
  if (!call.context().exports.Offered().sys) {
    return RefuseForGood(call, Errno(ENOKEY),
                         "it shows no key, and everything asks for one (sec=psk)");
  }
  BeginSession(call);
}

void ServeAttach(Call& call) { call.OnWorker(Attach); }

void ServePing(Call& call) {
  // In the set-up slot: the client has opened its files and taken its locks again.
  if (call.header().slot == wire::kSetUpSlot)
    call.context().grace.Reclaimed(call.session().number());
  Call::Finish(call);
}

void ServeRetire(Call& call) {
  const auto& r = call.request<wire::RetireRequest>();
  call.AnswerError(call.channel().Retire(r.slot, r.sequence));
  Call::Finish(call);
}

void ServeEnd(Call& call) {
  // What it had before a restart, it does not want again.
  call.context().grace.Reclaimed(call.session().number());
  call.session().SayFarewell();
  Call::Finish(call);
}

}  // namespace rdmafs::server
