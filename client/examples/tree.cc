// tree: lists an export, and shows the C++ side of the library.
//
//   tree HOST:DIR PORT TRANSPORT [DIR]
#include <dirent.h>
#include <fcntl.h>

#include <cstdlib>
#include <iostream>
#include <rdmafs/rdmafs.hpp>

namespace {

void List(librdmafs::FileSystem& file_system, const std::string& directory) {
  file_system.List(directory, [&](const rdmafs_dirent& entry) {
    const std::string name = entry.name;
    if (name == "." || name == "..") return;
    const std::string path = directory + "/" + name;
    std::cout << path << " " << file_system.Stat(path, RDMAFS_NOFOLLOW).st_size << "\n";
    if (entry.type == DT_DIR) List(file_system, path);
  });
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return std::cerr << "usage: tree HOST:DIR PORT TRANSPORT [DIR]\n", 2;
  rdmafs_options options;
  rdmafs_options_init(&options);
  options.port = static_cast<unsigned>(std::atoi(argv[2]));
  options.transport = argv[3];
  try {
    librdmafs::FileSystem file_system(argv[1], &options);
    List(file_system, argc > 4 ? argv[4] : ".");
  } catch (const std::system_error& error) {
    return std::cerr << "tree: " << error.what() << "\n", 1;
  }
  return 0;
}
