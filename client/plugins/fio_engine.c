/* An I/O engine for fio: files of an rdmafs export through librdmafs, without a mount.
 *
 *   fio --ioengine=external:/path/librdmafs_fio.so --source=HOST:DIR \
 *       --rdmafs_mode=readto|pool|plain ...
 *
 * Built against the sources of the very fio that will load it (docs/library.md). Each job has a
 * connection of its own, made by the process that does the I/O. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <rdmafs/rdmafs.h>
#include <stdlib.h>
#include <string.h>

#include "fio.h"
#include "optgroup.h"

/* readto: fio's buffers are registered once. pool: reads land in the library's buffers and are
 * copied by nobody, so that fio does not see their data (no verify). plain: as a program that does
 * neither. */
enum { kReadTo, kPool, kPlain };

struct engine_options {
  struct thread_data* td; /* fio wants no option at offset 0 */
  char* source;
  char* transport;
  unsigned int port;
  unsigned int threads;
  unsigned int mode;
};

struct unit; /* one io_u */

struct engine {
  rdmafs_fs* fs;
  void* memory; /* registered */
  size_t memory_size;
  struct io_u** done; /* that getevents found */
  unsigned int done_count;
};

struct unit {
  struct rdmafs_call call; /* first: a call is its unit */
  struct engine* engine;
  struct io_u* io_u;
  struct rdmafs_buffer buffer;
  int pooled;
};

static struct fio_option options[] = {
    {.name = "source",
     .lname = "rdmafs source",
     .type = FIO_OPT_STR_STORE,
     .off1 = offsetof(struct engine_options, source),
     .help = "HOST:DIR of an rdmafsd",
     .category = FIO_OPT_C_ENGINE,
     .group = FIO_OPT_G_INVALID},
    {.name = "rdmafs_transport",
     .lname = "rdmafs transport",
     .type = FIO_OPT_STR_STORE,
     .off1 = offsetof(struct engine_options, transport),
     .help = "auto, rdma or tcp",
     .def = "auto",
     .category = FIO_OPT_C_ENGINE,
     .group = FIO_OPT_G_INVALID},
    {.name = "rdmafs_port",
     .lname = "rdmafs port",
     .type = FIO_OPT_INT,
     .off1 = offsetof(struct engine_options, port),
     .help = "the server's port",
     .def = "20490",
     .category = FIO_OPT_C_ENGINE,
     .group = FIO_OPT_G_INVALID},
    {.name = "rdmafs_threads",
     .lname = "rdmafs threads",
     .type = FIO_OPT_INT,
     .off1 = offsetof(struct engine_options, threads),
     .help = "threads of the library, for each job",
     .def = "1",
     .category = FIO_OPT_C_ENGINE,
     .group = FIO_OPT_G_INVALID},
    {.name = "rdmafs_mode",
     .lname = "rdmafs mode",
     .type = FIO_OPT_STR,
     .off1 = offsetof(struct engine_options, mode),
     .help = "whose memory data move through",
     .def = "readto",
     .posval = {{.ival = "readto", .oval = kReadTo, .help = "fio's buffers, registered once"},
                {.ival = "pool", .oval = kPool, .help = "the library's buffers"},
                {.ival = "plain", .oval = kPlain, .help = "fio's buffers, not registered"}},
     .category = FIO_OPT_C_ENGINE,
     .group = FIO_OPT_G_INVALID},
    {.name = NULL},
};

static int Fail(const char* what, int64_t error) {
  log_err("rdmafs: %s: %s\n", what, strerror((int)-error));
  return 1;
}

static rdmafs_fs* Connect(const struct engine_options* given) {
  struct rdmafs_options connect;
  rdmafs_fs* fs = NULL;
  char why[256] = "source=HOST:DIR is needed";
  rdmafs_options_init(&connect);
  connect.transport = given->transport;
  connect.port = given->port;
  connect.threads = given->threads;
  if (given->source == NULL || rdmafs_connect(given->source, &connect, &fs, why, sizeof why) != 0)
    log_err("rdmafs: %s\n", why);
  return fs;
}

/* Before the jobs' processes are forked: makes the files as long as they have to be. */
static int Setup(struct thread_data* td) {
  const struct engine_options* given = td->eo;
  struct fio_file* file;
  unsigned int i;
  rdmafs_fs* fs = Connect(given);
  if (fs == NULL) return 1;
  td->o.use_thread = 1; /* so that the memory which is registered is the one of the I/O */
  for_each_file(td, file, i) {
    rdmafs_file* opened = NULL;
    struct stat stat;
    int64_t error = rdmafs_open(fs, file->file_name, O_RDWR | O_CREAT, 0644, &opened, NULL);
    if (error != 0) return Fail(file->file_name, error);
    const uint64_t wanted = td->o.size / td->o.nr_files;
    error = rdmafs_fstat(opened, &stat, NULL);
    if (error == 0 && (uint64_t)stat.st_size < wanted && !td_read(td)) {
      error = rdmafs_ftruncate(opened, wanted, NULL);
    } else if (error == 0 && (uint64_t)stat.st_size < wanted) {
      error = rdmafs_fallocate(opened, 0, 0, wanted, NULL);
    }
    rdmafs_close(opened);
    if (error != 0) return Fail(file->file_name, error);
    file->real_file_size = (uint64_t)stat.st_size < wanted ? wanted : (uint64_t)stat.st_size;
    fio_file_set_size_known(file);
  }
  return rdmafs_disconnect(fs) != 0;
}

static int Init(struct thread_data* td) {
  struct engine* engine = calloc(1, sizeof *engine);
  if (engine == NULL) return 1;
  engine->done = calloc(td->o.iodepth, sizeof *engine->done);
  engine->fs = Connect(td->eo);
  td->io_ops_data = engine;
  return engine->fs == NULL || engine->done == NULL;
}

static void Cleanup(struct thread_data* td) {
  struct engine* engine = td->io_ops_data;
  if (engine == NULL) return;
  if (engine->memory != NULL) rdmafs_unregister(engine->fs, engine->memory, engine->memory_size);
  if (engine->fs != NULL) rdmafs_disconnect(engine->fs);
  free(engine->done);
  free(engine);
  td->io_ops_data = NULL;
}

/* All io_us' memory is one piece: registered as one, before the first I/O. */
static int PostInit(struct thread_data* td) {
  struct engine* engine = td->io_ops_data;
  const struct engine_options* given = td->eo;
  if (given->mode != kReadTo || td->orig_buffer == NULL) return 0;
  const int error = rdmafs_register(engine->fs, td->orig_buffer, td->orig_buffer_size,
                                    RDMAFS_READTO | RDMAFS_WRITEFROM);
  if (error != 0) return Fail("rdmafs_register", error);
  engine->memory = td->orig_buffer;
  engine->memory_size = td->orig_buffer_size;
  return 0;
}

static int OpenFile(struct thread_data* td, struct fio_file* file) {
  struct engine* engine = td->io_ops_data;
  rdmafs_file* opened = NULL;
  const int64_t error = rdmafs_open(engine->fs, file->file_name, O_RDWR, 0, &opened, NULL);
  if (error != 0) return Fail(file->file_name, error);
  FILE_SET_ENG_DATA(file, opened);
  return 0;
}

static int CloseFile(struct thread_data* td, struct fio_file* file) {
  rdmafs_file* opened = FILE_ENG_DATA(file);
  (void)td;
  FILE_SET_ENG_DATA(file, NULL);
  return opened == NULL ? 0 : -rdmafs_close(opened);
}

static int GetFileSize(struct thread_data* td, struct fio_file* file) {
  (void)td, (void)file; /* Setup() has found it out */
  return 0;
}

static int InitUnit(struct thread_data* td, struct io_u* io_u) {
  struct unit* unit = calloc(1, sizeof *unit);
  if (unit == NULL) return 1;
  unit->engine = td->io_ops_data;
  unit->io_u = io_u;
  io_u->engine_data = unit;
  return 0;
}

static void FreeUnit(struct thread_data* td, struct io_u* io_u) {
  (void)td;
  free(io_u->engine_data);
  io_u->engine_data = NULL;
}

static void Done(struct rdmafs_call* call, int64_t result) {
  struct unit* unit = (struct unit*)call;
  struct io_u* io_u = unit->io_u;
  io_u->error = result < 0 ? (int)-result : 0;
  io_u->resid = 0;
  if (result >= 0 && ddir_rw(io_u->ddir)) io_u->resid = io_u->xfer_buflen - (size_t)result;
  if (unit->pooled && result >= 0) rdmafs_buffer_consumed(unit->engine->fs, &unit->buffer);
  unit->engine->done[unit->engine->done_count++] = io_u;
}

static enum fio_q_status Queue(struct thread_data* td, struct io_u* io_u) {
  const struct engine_options* given = td->eo;
  struct unit* unit = io_u->engine_data;
  rdmafs_file* file = FILE_ENG_DATA(io_u->file);
  int64_t error;
  fio_ro_check(td, io_u);
  unit->call.done = Done;
  unit->pooled = 0;
  if (io_u->ddir == DDIR_READ && given->mode == kPool) {
    unit->pooled = 1;
    error = rdmafs_read_pool(file, io_u->xfer_buflen, io_u->offset, &unit->buffer, &unit->call);
  } else if (io_u->ddir == DDIR_READ) {
    error = rdmafs_readto(file, io_u->xfer_buf, io_u->xfer_buflen, io_u->offset, &unit->call);
  } else if (io_u->ddir == DDIR_WRITE) {
    error = rdmafs_writefrom(file, io_u->xfer_buf, io_u->xfer_buflen, io_u->offset, &unit->call);
  } else if (ddir_sync(io_u->ddir)) {
    error = rdmafs_fsync(file, io_u->ddir == DDIR_DATASYNC, &unit->call);
  } else {
    error = -EOPNOTSUPP;
  }
  if (error == 0) return FIO_Q_QUEUED;
  io_u->error = (int)-error;
  return FIO_Q_COMPLETED;
}

static int GetEvents(struct thread_data* td, unsigned int min, unsigned int max,
                     const struct timespec* patience) {
  struct engine* engine = td->io_ops_data;
  (void)patience;
  engine->done_count = 0;
  for (;;) {
    rdmafs_process(engine->fs, (int)(max - engine->done_count));
    if (engine->done_count >= min) return (int)engine->done_count;
    struct pollfd waits = {.fd = rdmafs_event_fd(engine->fs), .events = POLLIN};
    poll(&waits, 1, -1);
  }
}

static struct io_u* Event(struct thread_data* td, int event) {
  struct engine* engine = td->io_ops_data;
  return engine->done[event];
}

struct ioengine_ops ioengine = {
    .name = "rdmafs",
    .version = FIO_IOOPS_VERSION,
    .flags = FIO_DISKLESSIO | FIO_NODISKUTIL,
    .setup = Setup,
    .init = Init,
    .post_init = PostInit,
    .cleanup = Cleanup,
    .open_file = OpenFile,
    .close_file = CloseFile,
    .get_file_size = GetFileSize,
    .io_u_init = InitUnit,
    .io_u_free = FreeUnit,
    .queue = Queue,
    .getevents = GetEvents,
    .event = Event,
    .options = options,
    .option_struct_size = sizeof(struct engine_options),
};
