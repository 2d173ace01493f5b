/* Connects by librdmafs with a key: library_key SOURCE PORT TRANSPORT KEY_FILE|- [KEY_NAME [tls]].
 * Prints what is wrong. */
#include <rdmafs/rdmafs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
  struct rdmafs_options options;
  char why[512] = "";
  rdmafs_fs *fs = NULL;
  if (argc < 5) return 2;
  rdmafs_options_init(&options);
  options.port = (unsigned)atoi(argv[2]);
  options.transport = argv[3];
  options.key_file = strcmp(argv[4], "-") == 0 ? NULL : argv[4];
  options.key_name = argc > 5 ? argv[5] : NULL;
  options.tls = argc > 6 && strcmp(argv[6], "tls") == 0;
  const int error = rdmafs_connect(argv[1], &options, &fs, why, sizeof why);
  printf("%d %s\n", error, why);
  if (error != 0) return 1;
  return rdmafs_disconnect(fs) == 0 ? 0 : 1;
}
