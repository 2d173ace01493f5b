/* nbdkit-rdmafs-plugin: a file of an rdmafsd as a disk.
 *
 *   nbdkit rdmafs server=HOST export=DIR file=NAME [transport=auto] [port=20490] [threads=2]
 *
 * Data go by rdmafs_readto() and rdmafs_writefrom() into and out of nbdkit's own buffers. */
#define NBDKIT_API_VERSION 2
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <nbdkit-plugin.h>
#include <rdmafs/rdmafs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

/* Set by the configuration, constant afterwards. */
static const char *server, *export_path, *file_name, *transport = "auto";
static unsigned port = 20490, threads = 2;
/* From after_fork to unload. */
static rdmafs_fs* fs;

struct connection {
  rdmafs_file* file;
};

/* 0, or -1 with nbdkit told. `result` is of the library's. */
static int Done(int64_t result, const char* what) {
  if (result >= 0) return 0;
  nbdkit_set_error((int)-result);
  errno = (int)-result;
  nbdkit_error("%s: %m", what);
  return -1;
}

static int Config(const char* key, const char* value) {
  if (strcmp(key, "server") == 0) {
    server = value;
  } else if (strcmp(key, "export") == 0) {
    export_path = value;
  } else if (strcmp(key, "file") == 0) {
    file_name = value;
  } else if (strcmp(key, "transport") == 0) {
    transport = value;
  } else if (strcmp(key, "port") == 0) {
    return nbdkit_parse_unsigned("port", value, &port);
  } else if (strcmp(key, "threads") == 0) {
    return nbdkit_parse_unsigned("threads", value, &threads);
  } else {
    nbdkit_error("unknown parameter '%s'", key);
    return -1;
  }
  return 0;
}

static int ConfigComplete(void) {
  if (server != NULL && export_path != NULL && file_name != NULL) return 0;
  nbdkit_error("server=, export= and file= are needed");
  return -1;
}

/* Not before: the library's handles are those of the process that made them. */
static int AfterFork(void) {
  struct rdmafs_options options;
  rdmafs_options_init(&options);
  options.transport = transport;
  options.port = port;
  options.threads = threads;
  char* source = NULL;
  const char* form = strchr(server, ':') != NULL ? "[%s]:%s" : "%s:%s";
  if (asprintf(&source, form, server, export_path) < 0) return -1;
  char why[256];
  const int error = rdmafs_connect(source, &options, &fs, why, sizeof why);
  free(source);
  if (error == 0) return 0;
  nbdkit_error("%s", why);
  return -1;
}

static void Unload(void) {
  if (fs != NULL) rdmafs_disconnect(fs);
}

static void* Open(int readonly) {
  struct connection* connection = calloc(1, sizeof *connection);
  if (connection == NULL) return NULL;
  const int flags = readonly ? O_RDONLY : O_RDWR;
  if (Done(rdmafs_open(fs, file_name, flags, 0, &connection->file, NULL), file_name) == 0)
    return connection;
  free(connection);
  return NULL;
}

static void Close(void* handle) {
  struct connection* connection = handle;
  rdmafs_close(connection->file);
  free(connection);
}

static int64_t GetSize(void* handle) {
  struct connection* connection = handle;
  struct stat stat;
  if (Done(rdmafs_fstat(connection->file, &stat, NULL), "size") != 0) return -1;
  return stat.st_size;
}

static int Yes(void* handle) {
  (void)handle;
  return 1;
}
static int CanFua(void* handle) {
  (void)handle;
  return NBDKIT_FUA_NATIVE;
}

static int Pread(void* handle, void* data, uint32_t count, uint64_t offset, uint32_t flags) {
  struct connection* connection = handle;
  (void)flags;
  const int64_t got = rdmafs_readto(connection->file, data, count, offset, NULL);
  if (Done(got, "pread") != 0) return -1;
  /* The file has become shorter than it was said to be. */
  memset((char*)data + got, 0, count - (size_t)got);
  return 0;
}

static int Flush(void* handle, uint32_t flags) {
  struct connection* connection = handle;
  (void)flags;
  return Done(rdmafs_fsync(connection->file, 1, NULL), "flush");
}

static int Pwrite(void* handle, const void* data, uint32_t count, uint64_t offset, uint32_t flags) {
  struct connection* connection = handle;
  int64_t wrote = rdmafs_writefrom(connection->file, data, count, offset, NULL);
  if (wrote >= 0 && wrote != count) wrote = -ENOSPC;
  if (Done(wrote, "pwrite") != 0) return -1;
  return (flags & NBDKIT_FLAG_FUA) != 0 ? Flush(handle, 0) : 0;
}

static int Punch(void* handle, int mode, uint32_t count, uint64_t offset, uint32_t flags) {
  struct connection* connection = handle;
  const int64_t error =
      rdmafs_fallocate(connection->file, mode | FALLOC_FL_KEEP_SIZE, offset, count, NULL);
  if (error == -EOPNOTSUPP) {
    nbdkit_set_error(EOPNOTSUPP); /* nbdkit writes zeroes instead */
    errno = EOPNOTSUPP;
    return -1;
  }
  if (Done(error, "fallocate") != 0) return -1;
  return (flags & NBDKIT_FLAG_FUA) != 0 ? Flush(handle, 0) : 0;
}

static int Trim(void* handle, uint32_t count, uint64_t offset, uint32_t flags) {
  const int done = Punch(handle, FALLOC_FL_PUNCH_HOLE, count, offset, flags);
  return done != 0 && errno == EOPNOTSUPP ? 0 : done; /* it was only a hint */
}

static int Zero(void* handle, uint32_t count, uint64_t offset, uint32_t flags) {
  if ((flags & NBDKIT_FLAG_MAY_TRIM) != 0 &&
      Punch(handle, FALLOC_FL_PUNCH_HOLE, count, offset, flags) == 0)
    return 0;
  return Punch(handle, FALLOC_FL_ZERO_RANGE, count, offset, flags);
}

/* From data to hole to data, until `count` bytes are told of. */
static int Extents(void* handle, uint32_t count, uint64_t offset, uint32_t flags,
                   struct nbdkit_extents* extents) {
  struct connection* connection = handle;
  const uint64_t end = offset + count;
  while (offset < end) {
    int64_t data = rdmafs_seek(connection->file, offset, SEEK_DATA, NULL);
    if (data == -ENXIO) data = (int64_t)end; /* no more of them */
    if (Done(data, "extents") != 0) return -1;
    if ((uint64_t)data > offset) {
      if (nbdkit_add_extent(extents, offset, (uint64_t)data - offset,
                            NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO) != 0)
        return -1;
    } else {
      const int64_t hole = rdmafs_seek(connection->file, offset, SEEK_HOLE, NULL);
      if (Done(hole, "extents") != 0) return -1;
      if ((uint64_t)hole <= offset) return 0; /* the file has become shorter */
      if (nbdkit_add_extent(extents, offset, (uint64_t)hole - offset, 0) != 0) return -1;
      data = hole;
    }
    offset = (uint64_t)data;
    if ((flags & NBDKIT_FLAG_REQ_ONE) != 0) return 0;
  }
  return 0;
}

static struct nbdkit_plugin plugin = {
    .name = "rdmafs",
    .version = "0.1.0",
    .longname = "a file of an rdmafsd",
    .description = "Serves a file of an rdmafs export, without a mount.",
    .config = Config,
    .config_complete = ConfigComplete,
    .config_help =
        "server=HOST     (required) where rdmafsd runs\n"
        "export=DIR      (required) the exported directory\n"
        "file=NAME       (required) the file, relative to the export\n"
        "transport=auto  auto, rdma or tcp\n"
        "port=20490      the server's port\n"
        "threads=2       of the library",
    .after_fork = AfterFork,
    .unload = Unload,
    .open = Open,
    .close = Close,
    .get_size = GetSize,
    .can_flush = Yes,
    .can_trim = Yes,
    .can_zero = Yes,
    .can_extents = Yes,
    .can_fua = CanFua,
    .can_multi_conn = Yes,
    .pread = Pread,
    .pwrite = Pwrite,
    .flush = Flush,
    .trim = Trim,
    .zero = Zero,
    .extents = Extents,
};

NBDKIT_REGISTER_PLUGIN(plugin)
