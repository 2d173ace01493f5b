// The handlers, one for each request of the kernel; handle_*.cc has them by theme.
#pragma once

#include "fuse/context.h"
#include "fuse/request.h"

namespace rdmafs::fuse {

// Begins a request's work. It is answered now or later on this thread, exactly once (FORGET:
// never).
using Handler = void (*)(Context& context, Request& request);

// handle_names.cc
void HandleLookup(Context& context, Request& request);
void HandleMkNod(Context& context, Request& request);
void HandleMkDir(Context& context, Request& request);
void HandleSymLink(Context& context, Request& request);
void HandleLink(Context& context, Request& request);
void HandleUnlink(Context& context, Request& request);
void HandleRmDir(Context& context, Request& request);
void HandleRename(Context& context, Request& request);
void HandleRename2(Context& context, Request& request);
void HandleForget(Context& context, Request& request);
void HandleBatchForget(Context& context, Request& request);

// handle_attributes.cc
void HandleGetAttr(Context& context, Request& request);
void HandleSetAttr(Context& context, Request& request);
void HandleReadLink(Context& context, Request& request);
void HandleAccess(Context& context, Request& request);
void HandleStatFs(Context& context, Request& request);
// The server is lost: GETATTR and STATFS of the root that wait for it are shown what was seen last.
void AnswerRootQuestions(Context& context);
void HandleSyncFs(Context& context, Request& request);

// handle_open.cc
void HandleOpen(Context& context, Request& request);
void HandleOpenDir(Context& context, Request& request);
void HandleCreate(Context& context, Request& request);
void HandleTmpFile(Context& context, Request& request);
void HandleRelease(Context& context, Request& request);

// handle_data.cc
void HandleRead(Context& context, Request& request);
void HandleWrite(Context& context, Request& request);
void HandleFsync(Context& context, Request& request);
void HandleFallocate(Context& context, Request& request);
void HandleSeek(Context& context, Request& request);
void HandleCopyFileRange(Context& context, Request& request);

// handle_directories.cc
void HandleReadDir(Context& context, Request& request);
void HandleReadDirPlus(Context& context, Request& request);

// handle_xattr.cc
void HandleGetXattr(Context& context, Request& request);
void HandleListXattr(Context& context, Request& request);
void HandleSetXattr(Context& context, Request& request);
void HandleRemoveXattr(Context& context, Request& request);

// handle_locks.cc
void HandleGetLock(Context& context, Request& request);
void HandleSetLock(Context& context, Request& request);
void HandleFlush(Context& context, Request& request);
void HandleInterrupt(Context& context, Request& request);

// The node a request is about; answers ESTALE and returns nullptr when there is none.
Node* FindNode(Context& context, const Request& request);
Node* FindNode(Context& context, const Request& request, uint64_t node_id);
// The open file a request names; answers EBADF and returns 0 when there is none.
OpenId FindOpenFile(Context& context, const Request& request, uint64_t number);
// The same without an answer.
OpenId UseOpenFile(Context& context, uint64_t number);
// The kernel has done what the answer to an open that keeps no pages makes it do: it names the open
// file, or never will.
void SeeDropped(Node& node);
// Answers that the request could not be read, with the reader's error.
void AnswerMalformed(Context& context, const Request& request, const Arguments& arguments);

}  // namespace rdmafs::fuse
