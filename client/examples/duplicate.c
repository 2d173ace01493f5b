/* duplicate: copies a file inside an export by pool buffers: each goes from a read to a write
 * without a copy, eight at a time, in a loop of the program's own (epoll).
 *
 *   duplicate HOST:DIR PORT TRANSPORT FROM TO */
#include <fcntl.h>
#include <rdmafs/rdmafs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { kDepth = 8, kPieceBytes = 1 << 20 };

struct copy {
  rdmafs_fs* fs;
  rdmafs_file *from, *to;
  uint64_t next, size;
  int under_way;
  int64_t error;
};

struct piece {
  struct rdmafs_call call; /* the first member: a call is its piece */
  struct copy* copy;
  uint64_t offset;
  struct rdmafs_buffer buffer;
};

static void ReadNext(struct piece* piece);

static void OnWritten(struct rdmafs_call* call, int64_t result) {
  struct piece* piece = (struct piece*)call;
  if (result < 0) piece->copy->error = result;
  rdmafs_buffer_consumed(piece->copy->fs, &piece->buffer);
  --piece->copy->under_way;
  ReadNext(piece);
}

static void OnRead(struct rdmafs_call* call, int64_t result) {
  struct piece* piece = (struct piece*)call;
  if (result < 0) {
    piece->copy->error = result;
    --piece->copy->under_way;
    return;
  }
  piece->call.done = OnWritten;
  int64_t error = rdmafs_write_pool(piece->copy->to, &piece->buffer, 0, piece->buffer.size,
                                    piece->offset, &piece->call);
  if (error != 0) OnWritten(call, error);
}

static void ReadNext(struct piece* piece) {
  struct copy* copy = piece->copy;
  if (copy->error != 0 || copy->next >= copy->size) return;
  piece->offset = copy->next;
  copy->next += kPieceBytes;
  piece->call.done = OnRead;
  ++copy->under_way;
  int64_t error =
      rdmafs_read_pool(copy->from, kPieceBytes, piece->offset, &piece->buffer, &piece->call);
  if (error == 0) return;
  copy->error = error;
  --copy->under_way;
}

static void Run(struct copy* copy) {
  int loop = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN};
  epoll_ctl(loop, EPOLL_CTL_ADD, rdmafs_event_fd(copy->fs), &event);
  struct piece pieces[kDepth];
  memset(pieces, 0, sizeof pieces);
  for (int i = 0; i < kDepth; ++i) {
    pieces[i].copy = copy;
    ReadNext(&pieces[i]);
  }
  while (copy->under_way > 0) {
    epoll_wait(loop, &event, 1, -1);
    rdmafs_process(copy->fs, kDepth);
  }
  close(loop);
}

int main(int argc, char** argv) {
  if (argc != 6) return fprintf(stderr, "usage: duplicate HOST:DIR PORT TRANSPORT FROM TO\n"), 2;
  struct rdmafs_options options;
  rdmafs_options_init(&options);
  options.port = (unsigned)atoi(argv[2]);
  options.transport = argv[3];
  struct copy copy = {0};
  char why[256];
  if (rdmafs_connect(argv[1], &options, &copy.fs, why, sizeof why) != 0)
    return fprintf(stderr, "duplicate: %s\n", why), 1;

  struct stat stat;
  copy.error = rdmafs_open(copy.fs, argv[4], O_RDONLY, 0, &copy.from, NULL);
  if (copy.error == 0) {
    copy.error = rdmafs_open(copy.fs, argv[5], O_WRONLY | O_CREAT | O_TRUNC, 0644, &copy.to, NULL);
    if (copy.error == 0) copy.error = rdmafs_fstat(copy.from, &stat, NULL);
    if (copy.error == 0) {
      copy.size = (uint64_t)stat.st_size;
      Run(&copy);
    }
    if (copy.error == 0) copy.error = rdmafs_fsync(copy.to, 0, NULL);
    if (copy.to != NULL) rdmafs_close(copy.to);
    rdmafs_close(copy.from);
  }
  if (copy.error != 0) fprintf(stderr, "duplicate: %s\n", strerror((int)-copy.error));
  struct rdmafs_statistics statistics;
  rdmafs_get_statistics(copy.fs, &statistics, sizeof statistics);
  printf("%llu bytes copied by the program\n", (unsigned long long)statistics.copied_bytes);
  rdmafs_disconnect(copy.fs);
  return copy.error != 0;
}
