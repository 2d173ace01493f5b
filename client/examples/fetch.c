/* fetch: copies a file out of an rdmafs export, with memory of its own that is registered once.
 *
 *   fetch HOST:DIR PORT TRANSPORT FILE LOCAL_FILE */
#include <fcntl.h>
#include <rdmafs/rdmafs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kPieceBytes = 4 << 20 };

static int Fail(const char* what, int64_t error) {
  fprintf(stderr, "fetch: %s: %s\n", what, strerror((int)-error));
  return 1;
}

static int Copy(rdmafs_file* from, FILE* to, char* memory) {
  uint64_t offset = 0;
  for (;;) {
    int64_t got = rdmafs_readto(from, memory, kPieceBytes, offset, NULL);
    if (got < 0) return Fail("reading", got);
    if (got == 0) return 0;
    if (fwrite(memory, 1, (size_t)got, to) != (size_t)got) return Fail("writing", -5);
    offset += (uint64_t)got;
  }
}

int main(int argc, char** argv) {
  if (argc != 6) {
    fprintf(stderr, "usage: fetch HOST:DIR PORT TRANSPORT FILE LOCAL_FILE\n");
    return 2;
  }
  struct rdmafs_options options;
  rdmafs_options_init(&options);
  options.port = (unsigned)atoi(argv[2]);
  options.transport = argv[3];
  rdmafs_fs* fs;
  char why[256];
  if (rdmafs_connect(argv[1], &options, &fs, why, sizeof why) != 0)
    return fprintf(stderr, "fetch: %s\n", why), 1;

  rdmafs_file* from;
  int64_t error = rdmafs_open(fs, argv[4], O_RDONLY, 0, &from, NULL);
  if (error != 0) return Fail(argv[4], error);
  char* memory = malloc(kPieceBytes);
  FILE* to = fopen(argv[5], "wb");
  if (memory == NULL || to == NULL) return Fail(argv[5], -5);
  error = rdmafs_register(fs, memory, kPieceBytes, RDMAFS_READTO);
  if (error != 0) return Fail("rdmafs_register", error);

  int status = Copy(from, to, memory);
  if (fclose(to) != 0) status = Fail(argv[5], -5);
  rdmafs_unregister(fs, memory, kPieceBytes); /* before it is freed */
  free(memory);
  rdmafs_close(from);
  rdmafs_disconnect(fs);
  return status;
}
