// What HELLO and PROVE end in. Shard thread.
#pragma once

#include <string_view>

#include "server/call.h"

namespace rdmafs::server {

// The connection says, or has proved, who it is: puts it into its session, or a new one, and
// answers the call.
void BeginSession(Call& call);
// Answers with an error; the client may say another hello.
void RefuseHello(Call& call, Errno error);
// The same kRefusalDelay later, with one line in the log; the connection ends then.
void RefuseForGood(Call& call, Errno error, std::string_view why);
// Does that to a hello that came in clear where nobody may. Whether it did.
bool RefuseWithoutTls(Call& call);

}  // namespace rdmafs::server
