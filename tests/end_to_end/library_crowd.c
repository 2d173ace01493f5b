/* A crowd of clients that write as fast as they are let: library_crowd SOURCE PORT TRANSPORT
 * CLIENTS SECONDS. Each is a session of its own with two writes of 1 MiB under way, all over a file
 * of 32 MiB. Prints how many bytes each one got written. */
#include <pthread.h>
#include <rdmafs/rdmafs.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { kBytes = 1 << 20, kBlocks = 32, kWriters = 2 };

struct client {
  const char *const *arguments;
  int number;
  rdmafs_file *file;
  atomic_int next_block;
  atomic_llong written;
};
static pthread_barrier_t all_are_there;
static double seconds;
static char data[kBytes];

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void fail(const char *what, const char *why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

static void *write_blocks(void *argument) {
  struct client *client = argument;
  const double end = now() + seconds;
  while (now() < end) {
    const uint64_t offset = (uint64_t)(atomic_fetch_add(&client->next_block, 1) % kBlocks) * kBytes;
    const int64_t count = rdmafs_writefrom(client->file, data, kBytes, offset, NULL);
    if (count != kBytes) fail("write", count < 0 ? strerror((int)-count) : "a short one");
    if (now() < end) atomic_fetch_add(&client->written, count);
  }
  return NULL;
}

static void *be_client(void *argument) {
  struct client *client = argument;
  struct rdmafs_options options;
  char why[512] = "", path[32];
  rdmafs_fs *fs = NULL;
  pthread_t threads[kWriters];
  rdmafs_options_init(&options);
  options.port = (unsigned)atoi(client->arguments[1]);
  options.transport = client->arguments[2];
  options.connections = 1;
  options.pool_bytes = 4 << 20;
  if (rdmafs_connect(client->arguments[0], &options, &fs, why, sizeof why) != 0)
    fail("connect", why);
  snprintf(path, sizeof path, "f%d", client->number);
  const int error = rdmafs_create(fs, path, 2 /* O_RDWR */, 0644, &client->file, NULL);
  if (error != 0) fail(path, strerror(-error));
  pthread_barrier_wait(&all_are_there);
  for (int i = 0; i < kWriters; ++i) pthread_create(&threads[i], NULL, write_blocks, client);
  for (int i = 0; i < kWriters; ++i) pthread_join(threads[i], NULL);
  if (rdmafs_close(client->file) != 0 || rdmafs_disconnect(fs) != 0) fail(path, "it does not end");
  return NULL;
}

int main(int argc, char **argv) {
  if (argc != 6) return 2;
  const int count = atoi(argv[4]);
  struct client *clients = calloc((size_t)count, sizeof *clients);
  pthread_t *threads = calloc((size_t)count, sizeof *threads);
  seconds = atof(argv[5]);
  memset(data, 'x', sizeof data);
  pthread_barrier_init(&all_are_there, NULL, (unsigned)count);
  for (int i = 0; i < count; ++i) {
    clients[i] = (struct client){.arguments = (const char *const *)(argv + 1), .number = i};
    pthread_create(&threads[i], NULL, be_client, &clients[i]);
  }
  for (int i = 0; i < count; ++i) pthread_join(threads[i], NULL);
  for (int i = 0; i < count; ++i) printf("%lld\n", (long long)clients[i].written);
  free(clients);
  free(threads);
  return 0;
}
