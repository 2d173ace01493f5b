/* librdmafs: files of an rdmafsd without a mount, and with control of the memory that data move
 * through.
 *
 * UNITS    Offsets, lengths and sizes are bytes; times are milliseconds where the name says _ms.
 * ERRORS   A function that returns int or int64_t returns 0 or a count, or -errno: what the
 *          server's file system said (see the manual page of the system call of that name), or of
 *          the way there
 *            -EIO         the answer was lost, and the operation must not be repeated blindly
 *            -ETIMEDOUT   the server was not there for timeout_ms
 *            -ENOTCONN    rdmafs_disconnect() was called
 *            -EFAULT      memory that is not mapped, or not writable where it has to be
 *            -EBADF       a read of a file that was opened O_WRONLY, a write to one opened O_RDONLY
 *            -EINVAL      an argument that cannot be right
 *            -ECHILD      the handle was made before a fork(2): it is the parent's
 * THREADS  Every function may be called by any thread at any time, for one handle too, but for what
 *          ends a handle (rdmafs_disconnect, rdmafs_close, rdmafs_node_free, rdmafs_closedir): no
 *          other thread uses that handle then or afterwards. The library runs threads of its own,
 *          which never call the program.
 * CALLS    `call` NULL: the function waits for the result and returns it; it is not interrupted by
 *          signals. Otherwise it starts the operation and returns 0, or -errno when there was
 *          nothing to start (`done` is not called then); the result comes to call->done in
 *          rdmafs_process(). Strings and structs that are passed in are copied before the function
 *          returns; data, iovecs' memory, and what results are written to, stay the operation's
 *          until then.
 * FORK     A child process must not use its parent's handles: it gets -ECHILD, and what it does to
 *          its copy of the memory has no effect on the parent. It may connect anew.
 * SIGNALS  No function may be called from a signal handler.
 */
#ifndef RDMAFS_RDMAFS_H
#define RDMAFS_RDMAFS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RDMAFS_API __attribute__((visibility("default")))

typedef struct rdmafs_fs rdmafs_fs;     /* an attached export */
typedef struct rdmafs_node rdmafs_node; /* a file or directory that was found */
typedef struct rdmafs_file rdmafs_file; /* an open file */
typedef struct rdmafs_dir rdmafs_dir;   /* an open directory */

/* --- Connecting ------------------------------------------------------------------------------- */

struct rdmafs_options {
  size_t size;           /* sizeof(struct rdmafs_options), set by rdmafs_options_init */
  const char *transport; /* "auto" (the default), "rdma" or "tcp" */
  unsigned port;         /* 20490 */
  unsigned threads;      /* of the library; 0 (the default): 1 */
  unsigned connections;  /* of all threads together, over TCP: 4 */
  uint64_t pool_bytes;   /* memory for bounce buffers, pool reads and data read ahead: 64 MiB */
  unsigned timeout_ms;   /* 0 (the default): operations wait for a server that is not there */
  int read_ahead;        /* 1: fetch ahead of sequential readers; 0 (the default): do not */
  uint64_t ra_max;       /* bytes ahead of one reader: 8 MiB */
  uint64_t ra_total;     /* of the pool, for data read ahead: 32 MiB, half of the pool at most */
  /* sec=psk, with the key of this file (rdmafs-exports(5)); NULL (the default): sec=sys. */
  const char *key_file;
  const char *key_name;  /* which of them; NULL: the first */
  const char *mr_cache;  /* "off" (the default), or "uffd": see rdmafs_readto */
  const char *mr;        /* "cache" (the default), or "window": as the mount option, rdmafs(8) */
  int tls;               /* 1: TLS 1.3 over TCP, by key or certificates; 0 (the default): none */
  /* Whose certificates the server may show for its name or address; NULL: the key. */
  const char *ca_file;
  const char *cert_file, *cert_key_file; /* to show, and its private key; NULL: none */
  /* These files, too, are read again for a connection when they have changed. */
};
/* The defaults. Cannot fail. */
RDMAFS_API void rdmafs_options_init(struct rdmafs_options *options);

/* Connects to "HOST:DIR" ("[ADDRESS]:DIR") and attaches that export, as the process's effective
 * user, group and supplementary groups of now. Waits for 10 s at most. options NULL: the defaults.
 * On an error *fs is NULL, and `why` (NULL: not wanted) says in one sentence what is wrong. */
RDMAFS_API int rdmafs_connect(const char *source, const struct rdmafs_options *options,
                              rdmafs_fs **fs, char *why, size_t why_size);
/* Ends it and frees fs. -EBUSY, and nothing is ended, while operations are under way, completions
 * have not been taken, files, directories or nodes are open, memory is registered, or pool buffers
 * have not been consumed: rdmafs_get_statistics() says which. */
RDMAFS_API int rdmafs_disconnect(rdmafs_fs *fs);

/* --- Calls that do not wait ------------------------------------------------------------------- */

/* One operation under way. The caller's memory, from the start of an operation until `done` is
 * called. */
struct rdmafs_call {
  void (*done)(struct rdmafs_call *call, int64_t result); /* may start further operations */
  void *user;                                             /* the caller's own */
  struct rdmafs_call *reserved_next;
  int64_t reserved_result;
};

/* A descriptor that polls readable while there are completions to take: for poll, epoll, io_uring
 * or libevent. It is fs's: never read, written or closed by the caller. */
RDMAFS_API int rdmafs_event_fd(rdmafs_fs *fs);
/* Calls `done` of at most `max` operations that have completed, on this thread. Returns how many;
 * never waits. */
RDMAFS_API int rdmafs_process(rdmafs_fs *fs, int max);

/* --- Names ------------------------------------------------------------------------------------ */

/* Paths are relative to the export, with or without a leading '/'; they cannot lead out of it.
 * Symbolic links are followed (-ELOOP after 40), those to absolute paths from the export's root;
 * the last component's is not with RDMAFS_NOFOLLOW, and where the system call of the name does not
 * follow it. */
#define RDMAFS_NOFOLLOW 1

/* What is found stays the same object whatever happens to its name. */
RDMAFS_API int rdmafs_resolve(rdmafs_fs *fs, const char *path, int flags, rdmafs_node **node,
                              struct rdmafs_call *call);
RDMAFS_API void rdmafs_node_free(rdmafs_node *node);
RDMAFS_API int rdmafs_node_stat(rdmafs_node *node, struct stat *stat, struct rdmafs_call *call);

RDMAFS_API int rdmafs_stat(rdmafs_fs *fs, const char *path, int flags, struct stat *stat,
                           struct rdmafs_call *call);
RDMAFS_API int rdmafs_statvfs(rdmafs_fs *fs, struct statvfs *stat, struct rdmafs_call *call);
/* mode: permission bits; the process's umask has no part in it. */
RDMAFS_API int rdmafs_mkdir(rdmafs_fs *fs, const char *path, mode_t mode, struct rdmafs_call *call);
RDMAFS_API int rdmafs_rmdir(rdmafs_fs *fs, const char *path, struct rdmafs_call *call);
RDMAFS_API int rdmafs_unlink(rdmafs_fs *fs, const char *path, struct rdmafs_call *call);
/* flags: RENAME_NOREPLACE, RENAME_EXCHANGE of renameat2(2). */
RDMAFS_API int rdmafs_rename(rdmafs_fs *fs, const char *from, const char *to, unsigned flags,
                             struct rdmafs_call *call);
RDMAFS_API int rdmafs_link(rdmafs_fs *fs, const char *from, const char *to,
                           struct rdmafs_call *call);
RDMAFS_API int rdmafs_symlink(rdmafs_fs *fs, const char *target, const char *path,
                              struct rdmafs_call *call);
/* Waits. At most `size` bytes of the target, without a 0 byte; returns how many. */
RDMAFS_API int64_t rdmafs_readlink(rdmafs_fs *fs, const char *path, char *target, size_t size);
RDMAFS_API int rdmafs_chmod(rdmafs_fs *fs, const char *path, mode_t mode, struct rdmafs_call *call);
/* (uid_t)-1, (gid_t)-1: as it is. */
RDMAFS_API int rdmafs_chown(rdmafs_fs *fs, const char *path, uid_t uid, gid_t gid, int flags,
                            struct rdmafs_call *call);
RDMAFS_API int rdmafs_truncate(rdmafs_fs *fs, const char *path, uint64_t size,
                               struct rdmafs_call *call);

struct rdmafs_dirent {
  uint64_t ino;
  unsigned type; /* DT_* of readdir(3) */
  char name[256];
};
/* These three wait. rdmafs_readdir returns 1 with an entry, 0 at the end; "." and ".." are among
 * them. */
RDMAFS_API int rdmafs_opendir(rdmafs_fs *fs, const char *path, rdmafs_dir **dir);
RDMAFS_API int rdmafs_readdir(rdmafs_dir *dir, struct rdmafs_dirent *entry);
RDMAFS_API int rdmafs_closedir(rdmafs_dir *dir);

/* --- Open files ------------------------------------------------------------------------------- */

/* flags: O_* of open(2) (O_APPEND and O_DIRECT as well). mode: with O_CREAT, permission bits; the
 * umask has no part in it. *file is valid once the result is 0. */
RDMAFS_API int rdmafs_open(rdmafs_fs *fs, const char *path, int flags, mode_t mode,
                           rdmafs_file **file, struct rdmafs_call *call);
/* As rdmafs_open with O_CREAT | O_EXCL. */
RDMAFS_API int rdmafs_create(rdmafs_fs *fs, const char *path, int flags, mode_t mode,
                             rdmafs_file **file, struct rdmafs_call *call);
RDMAFS_API int rdmafs_open_node(rdmafs_node *node, int flags, rdmafs_file **file,
                                struct rdmafs_call *call);
/* Waits until the server has released it. Frees file, whatever the result. What was written and not
 * synced may still be lost with the server's host. -EBUSY, and file stays, while operations of it
 * are under way. */
RDMAFS_API int rdmafs_close(rdmafs_file *file);
RDMAFS_API int rdmafs_fstat(rdmafs_file *file, struct stat *stat, struct rdmafs_call *call);
RDMAFS_API int rdmafs_ftruncate(rdmafs_file *file, uint64_t size, struct rdmafs_call *call);
/* data_only: as fdatasync(2). */
RDMAFS_API int rdmafs_fsync(rdmafs_file *file, int data_only, struct rdmafs_call *call);
/* mode: FALLOC_FL_* of fallocate(2). */
RDMAFS_API int rdmafs_fallocate(rdmafs_file *file, int mode, uint64_t offset, uint64_t length,
                                struct rdmafs_call *call);
/* whence: SEEK_DATA or SEEK_HOLE. Returns the offset; -ENXIO behind the last data. */
RDMAFS_API int64_t rdmafs_seek(rdmafs_file *file, uint64_t offset, int whence,
                               struct rdmafs_call *call);

/* --- Data: the caller's memory ---------------------------------------------------------------- */

/* Reads `length` bytes at `offset` into the caller's memory; returns how many, fewer only at the
 * end of the file. Over RDMA the server's card writes into it: without a copy when it is registered
 * (rdmafs_register) or a pool buffer's, whatever the length; else lengths to 64 KiB go through a
 * bounce buffer (one copy), and longer ones through a registration for this call alone. Over TCP
 * data are received into it. 4 KiB or less come with the answer, and are copied once.
 *
 * With mr_cache "uffd" the registration of such a longer one is kept for the next call, until the
 * kernel says (userfaultfd(2)) that the mapping has changed: munmap, mremap, mmap over it,
 * MADV_DONTNEED and its like. It is for private anonymous memory (malloc, stacks), needs Linux
 * 5.19, and makes a change of memory that was read to take some microseconds longer. Another
 * userfaultfd of the program on the same memory excludes it. MADV_GUARD_INSTALL (Linux 6.13) is not
 * told of: not on such memory.
 *
 * The memory must stay mapped until the result is there. Lengths beyond 1 MiB are several
 * operations: not one atomic read. */
RDMAFS_API int64_t rdmafs_readto(rdmafs_file *file, void *data, size_t length, uint64_t offset,
                                 struct rdmafs_call *call);
/* Into `count` (at most 1024) pieces, one behind the other. */
RDMAFS_API int64_t rdmafs_readtov(rdmafs_file *file, const struct iovec *pieces, int count,
                                  uint64_t offset, struct rdmafs_call *call);
/* Writes; the same for the way there. The memory must not change until the result is there. With
 * O_APPEND `offset` counts for nothing, and what is longer than 1 MiB is not one append. */
RDMAFS_API int64_t rdmafs_writefrom(rdmafs_file *file, const void *data, size_t length,
                                    uint64_t offset, struct rdmafs_call *call);
RDMAFS_API int64_t rdmafs_writefromv(rdmafs_file *file, const struct iovec *pieces, int count,
                                     uint64_t offset, struct rdmafs_call *call);

/* Registers memory for transfers, once, as one: until rdmafs_unregister() all reads into it
 * (RDMAFS_READTO) and writes from it (RDMAFS_WRITEFROM) that lie inside need neither a copy nor
 * another registration. -EFAULT: not mapped, or read-only where reads go. -ENOMEM: beyond
 * RLIMIT_MEMLOCK. -EEXIST: it touches memory that is registered. May wait while pages are pinned.
 * Over TCP it costs nothing, and is checked the same.
 *
 * Unregister it BEFORE the memory is unmapped, remapped or given back (munmap, mremap, free,
 * realloc, MADV_DONTNEED): the card goes on writing to the pages that were there. */
#define RDMAFS_READTO 1
#define RDMAFS_WRITEFROM 2
RDMAFS_API int rdmafs_register(rdmafs_fs *fs, void *data, size_t length, int directions);
/* data and length as they were registered: -ENOENT otherwise. -EBUSY while a transfer uses it. */
RDMAFS_API int rdmafs_unregister(rdmafs_fs *fs, void *data, size_t length);

/* --- Data: the library's memory --------------------------------------------------------------- */

/* A registered buffer with data. It is always in one of four states: available, in transmission
 * (its read is under way), being consumed (the caller has it), being returned (the caller gave it
 * back, and a write out of it is still under way). */
struct rdmafs_buffer {
  void *data;
  size_t size;  /* bytes of data that were read */
  uint64_t id;  /* the library's */
};
/* Reads at most 1 MiB into a buffer of the library's; returns as rdmafs_readto, with *buffer set
 * and the buffer the caller's when the result is 0 or more. -EAGAIN: none is available, consume
 * some. */
RDMAFS_API int64_t rdmafs_read_pool(rdmafs_file *file, size_t length, uint64_t offset,
                                    struct rdmafs_buffer *buffer, struct rdmafs_call *call);
/* The caller is done with it. -EINVAL, and counted as misuse: it is not the caller's (returned
 * already, or not a buffer of fs). A write from it that is under way goes on, and its memory is
 * used again afterwards. May be called after the file was closed. */
RDMAFS_API int rdmafs_buffer_consumed(rdmafs_fs *fs, const struct rdmafs_buffer *buffer);
/* Writes `length` bytes at `from` inside the buffer, without a copy. -EINVAL: not the caller's
 * buffer, or not inside it. */
RDMAFS_API int64_t rdmafs_write_pool(rdmafs_file *file, const struct rdmafs_buffer *buffer,
                                     size_t from, size_t length, uint64_t offset,
                                     struct rdmafs_call *call);

/* --- Looking inside --------------------------------------------------------------------------- */

struct rdmafs_statistics {
  /* Pool buffers by state, now. */
  uint64_t buffers_available, buffers_in_transmission;
  uint64_t buffers_being_consumed, buffers_being_returned;
  uint64_t buffers_misused; /* rdmafs_buffer_consumed and rdmafs_write_pool that were refused */
  /* Open now. */
  uint64_t operations, completions, files, nodes, registered_ranges, registered_bytes;
  /* Payload bytes, by the way they went, and what the library copied of them. */
  uint64_t direct_bytes;        /* into or out of the caller's or a pool buffer's memory: no copy */
  uint64_t bounced_bytes;       /* through a bounce buffer: one copy */
  uint64_t inline_bytes;        /* with the message: one copy */
  uint64_t read_ahead_bytes;    /* out of what was read ahead: one copy into the caller's memory */
  uint64_t copied_bytes;        /* all copies together */
  uint64_t call_registrations;  /* registrations for one call */
  uint64_t memory_registrations, memory_lookups, memory_hits; /* of the RDMA transport */
  uint64_t bytes_sent, bytes_received, reconnects;
  uint64_t watched_bytes, mapping_changes; /* mr_cache uffd: plain memory watched; changes seen */
};
/* size: sizeof(struct rdmafs_statistics). Cannot fail. */
RDMAFS_API void rdmafs_get_statistics(rdmafs_fs *fs, struct rdmafs_statistics *statistics,
                                      size_t size);
/* "tcp" or "rdma"; stands as long as fs. */
RDMAFS_API const char *rdmafs_transport(rdmafs_fs *fs);
/* "0.1.0". */
RDMAFS_API const char *rdmafs_version(void);

#ifdef __cplusplus
}
#endif
#endif
