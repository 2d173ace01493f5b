// The first step of every operation. Each runs on its call's shard thread, after the request was
// decoded and found consistent with its payload.
#pragma once

#include "server/call.h"

namespace rdmafs::server {

// hello.cc
void ServeHello(Call& call);
void ServeAttach(Call& call);
void ServePing(Call& call);
void ServeRetire(Call& call);
void ServeEnd(Call& call);
// challenge.cc
void ServeChallenge(Call& call);
void ServeProve(Call& call);
// recall.cc
void ServeRecall(Call& call);
// names.cc
void ServeLookup(Call& call);
void ServeMkNod(Call& call);
void ServeMkDir(Call& call);
void ServeUnlink(Call& call);
void ServeRmDir(Call& call);
void ServeSymLink(Call& call);
void ServeRename(Call& call);
void ServeLink(Call& call);
void ServeReadLink(Call& call);
void ServeForget(Call& call);
// attributes.cc
void ServeGetAttr(Call& call);
void ServeSetAttr(Call& call);
void ServeAccess(Call& call);
void ServeStatFs(Call& call);
void ServeSyncFs(Call& call);
// open.cc
void ServeOpen(Call& call);
// What a CREATE made is opened again for it, by the id that it chose, if `call`'s session may
// still. EBADF: the id is another's. Worker thread.
Errno OpenCreatedAgain(Call& call, const wire::CreateRequest& request,
                       const wire::FileHandle& handle);
void ServeCreate(Call& call);
void ServeTmpFile(Call& call);
void ServeRelease(Call& call);
// read.cc, write.cc
void ServeRead(Call& call);
void ServeWrite(Call& call);
// file.cc
void ServeFsync(Call& call);
void ServeFallocate(Call& call);
void ServeSeek(Call& call);
void ServeCopyFileRange(Call& call);
// directory.cc
void ServeReadDir(Call& call);
// xattr.cc
void ServeGetXattr(Call& call);
void ServeSetXattr(Call& call);
void ServeListXattr(Call& call);
void ServeRemoveXattr(Call& call);
// locks.cc
void ServeGetLock(Call& call);
void ServeSetLock(Call& call);
void ServeCancel(Call& call);
void ServeReleaseOwner(Call& call);

}  // namespace rdmafs::server
