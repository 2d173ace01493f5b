// CHALLENGE and PROVE: a client shows that it has a key, and is shown that the server has it.
#include "absl/strings/str_cat.h"
#include "server/channel.h"
#include "server/handlers/begin.h"
#include "server/handlers/handlers.h"
#include "server/handshake_limit.h"
#include "server/key_ring.h"
#include "server/server_context.h"

namespace rdmafs::server {
namespace {

// Of the session that the challenge asks for; nothing when there is none, or it was begun without a
// key.
std::optional<auth::Secret> SessionSecret(const ServerContext& context,
                                          const wire::ChallengeRequest& challenge,
                                          KeyIdentity& session_key) {
  const SessionId id{{challenge.fixed.session[0], challenge.fixed.session[1]}};
  if (id.none()) return std::nullopt;
  Result<std::shared_ptr<Session>> session = context.sessions.Find(id);
  if (!session.ok() || !(*session)->secret()) return std::nullopt;
  session_key = (*session)->key().value_or(KeyIdentity());
  return (*session)->secret();
}

auth::Binding BindingOf(Call& call) {
  const ChannelSecurity* security = call.channel().connection().security();
  return security == nullptr ? std::nullopt : auth::Binding(security->binding);
}

std::string WhyRefused(const Authentication& proof) {
  if (proof.handshake.joins())
    return "it does not have the secret of the session that it wants to join";
  return absl::StrCat("key ", proof.key.name,
                      proof.key_known ? ": the secret is another one than here"
                                      : ": there is no key of that name here");
}

}  // namespace

void ServeChallenge(Call& call) {
  const ServerContext& context = call.context();
  const auto& challenge = call.request<wire::ChallengeRequest>();
  if (challenge.fixed.magic != wire::kMagic) return call.Breach("hello without the magic number");
  if (challenge.fixed.version != wire::kVersion) return RefuseHello(call, Errno(EPROTONOSUPPORT));
  if (RefuseWithoutTls(call)) return;
  if (context.keys == nullptr || !context.exports.Offered().psk) {
    return RefuseForGood(call, Errno(EOPNOTSUPP),
                         "it shows a key, and nothing is exported with sec=psk");
  }
  KeyIdentity identity;
  const std::optional<auth::Secret> session = SessionSecret(context, challenge, identity);
  const bool joins = challenge.fixed.mechanism == wire::kMechanismJoin;
  if (joins && (!session || !context.keys->Has(identity))) return RefuseHello(call, Errno(ESTALE));
  std::optional<HandshakeLimit::Ticket> ticket = call.channel().TakePlace();
  if (!ticket) return RefuseForGood(call, Errno(EAGAIN), "too many handshakes at once");
  std::optional<auth::Secret> secret;
  if (!joins) {
    const std::string_view name = auth::ServerHandshake::KeyName(challenge);
    std::optional<KeyRing::Found> key = context.keys->Find(name);
    identity = key ? key->identity : KeyIdentity{std::string(name), {}};
    if (key) secret = key->secret;
  }
  call.channel().authentication.reset(new Authentication{
      *std::move(ticket),
      auth::ServerHandshake(challenge, secret, session, context.random, BindingOf(call)),
      std::move(identity), secret.has_value()});
  call.Answer(call.channel().authentication->handshake.reply());
  Call::Finish(call);  // the time for the hello goes on
}

void ServeProve(Call& call) {
  Authentication& proof = *call.channel().authentication;
  proof.proved = true;
  if (!proof.handshake.Verify(call.request<wire::ProveRequest>())) {
    return RefuseForGood(call, Errno(EKEYREJECTED), WhyRefused(proof));
  }
  call.channel().HelloCame();
  BeginSession(call);
}

}  // namespace rdmafs::server
