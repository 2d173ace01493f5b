// Client::Greet: the first words on every connection: HELLO, or with a key CHALLENGE and PROVE.
#include <algorithm>

#include "client/answers.h"
#include "client/client_calls.h"

namespace rdmafs {
namespace {

// Of a handshake with a key. The server has the same.
constexpr Nanoseconds kHandshakeTimeout = 5 * kSecond;

// What a server that answers the first words with `error` means.
absl::Status Refused(const std::string& host, const std::string& key, Errno error) {
  switch (error.value()) {
    case EPROTONOSUPPORT:
      return absl::FailedPreconditionError(
          absl::StrCat(host, " speaks another version of the protocol"));
    case EACCES:
      return absl::PermissionDeniedError(absl::StrCat(host, " does not let this host in"));
    case EPROTOTYPE:
      return absl::PermissionDeniedError(
          absl::StrCat(host, " demands TLS: mount with the option tls"));
    case ENOKEY:
      return absl::PermissionDeniedError(
          absl::StrCat(host, " demands a key: mount with sec=psk,key=FILE"));
    case EOPNOTSUPP:
      return absl::PermissionDeniedError(absl::StrCat(
          host, " does not ask for a key (sec=psk), so it cannot show that it has one"));
    case EKEYREJECTED:
      return absl::PermissionDeniedError(absl::StrCat(
          host, " refused the key '", key, "': it has none of that name, or another secret"));
    case EAGAIN:
      return absl::ResourceExhaustedError(
          absl::StrCat(host, " has too many handshakes under way at once"));
    case ESTALE:
      return absl::UnavailableError(absl::StrCat(host, " does not know the session any more"));
    default:
      return absl::UnavailableError(absl::StrCat(
          host,
          " ended the connection at the handshake (is it an rdmafsd that lets this host in?)"));
  }
}

}  // namespace

absl::Status Client::Greet(size_t index, SessionName& session, uint16_t* credits,
                           Nanoseconds deadline) {
  wire::HelloRequest hello;
  hello.fixed = {wire::kMagic,           wire::kVersion, static_cast<uint16_t>(index),
                 wire::kMaxPayloadBytes, epoch_,         {session[0], session[1]}};
  auto granted = std::make_shared<Granted>();
  if (options_.key) {
    absl::Status status = ProveKey(index, hello, granted,
                                   std::min(deadline, After(kHandshakeTimeout)));
    if (!status.ok()) return status;
  } else {
    const std::string host = connector_.server().host;
    absl::Status status =
        CallFirst(index, hello, {}, deadline, [granted, host](const Answer& answer) {
          auto decoded = DecodeAnswer<wire::HelloReply>(answer);
          if (!decoded.ok()) return Refused(host, "", decoded.error());
          granted->hello = *decoded;
          granted->credits = answer.message.header().credits;
          return absl::OkStatus();
        });
    if (!status.ok()) return status;
  }
  if (index == 0) {
    CompareBoot(granted->hello);
    std::optional<ChannelSecurity> security = SecurityOf(0);
    absl::MutexLock lock(&mutex_);
    security_ = std::move(security);
  }
  session[0] = granted->hello.fixed.session[0];
  session[1] = granted->hello.fixed.session[1];
  *credits = granted->credits;
  return absl::OkStatus();
}

absl::Status Client::ProveKey(size_t index, const wire::HelloRequest& hello,
                              const std::shared_ptr<Granted>& granted, Nanoseconds deadline) {
  const std::string host = connector_.server().host;
  std::optional<auth::ClientHandshake> handshake;
  std::string name;
  if (index == 0) {
    absl::StatusOr<auth::Key> key = options_.key();
    if (!key.ok()) return key.status();
    name = key->name;
    const bool comes_back = (hello.fixed.session[0] | hello.fixed.session[1]) != 0;
    handshake.emplace(hello, *key, comes_back ? session_secret_ : std::nullopt, auth::SystemRandom);
  } else {
    handshake.emplace(hello, *session_secret_, auth::SystemRandom);
  }

  auto challenge = std::make_shared<wire::ChallengeReply>();
  absl::Status status = CallFirst(index, handshake->challenge(), {}, deadline,
                                  [challenge, host, name](const Answer& answer) {
                                    auto decoded = DecodeAnswer<wire::ChallengeReply>(answer);
                                    if (!decoded.ok()) return Refused(host, name, decoded.error());
                                    *challenge = *decoded;
                                    return absl::OkStatus();
                                  });
  if (!status.ok()) return status;
  const std::optional<ChannelSecurity> security = SecurityOf(index);
  Result<wire::ProveRequest> proof =
      handshake->Prove(*challenge, security ? auth::Binding(security->binding) : std::nullopt);
  if (!proof.ok()) {
    return absl::PermissionDeniedError(
        absl::StrCat(host, " answers the handshake as no server does that has the key"));
  }
  auto answered = std::make_shared<wire::ProveReply>();
  status = CallFirst(index, *proof, {}, deadline,
                     [answered, granted, host, name](const Answer& answer) {
                       auto decoded = DecodeAnswer<wire::ProveReply>(answer);
                       if (!decoded.ok()) return Refused(host, name, decoded.error());
                       *answered = *decoded;
                       granted->credits = answer.message.header().credits;
                       return absl::OkStatus();
                     });
  if (!status.ok()) return status;
  if (!handshake->Verify(*answered)) {
    return absl::PermissionDeniedError(absl::StrCat(
        host, " could not prove that it has the key: it is not the server that it says it is"));
  }
  granted->hello = answered->hello;
  // A session keeps the secret that it began with.
  const auto& given = answered->hello.fixed.session;
  const bool goes_on = given[0] == hello.fixed.session[0] && given[1] == hello.fixed.session[1];
  if (index == 0 && !goes_on) session_secret_ = handshake->session_secret();
  return absl::OkStatus();
}

}  // namespace rdmafs
