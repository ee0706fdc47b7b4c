// Read-ahead of mapped files.
#pragma once
#include <cstddef>

namespace nestvec {

/// Asks the kernel to fetch the pages under [from, from + bytes) of a mapped file in the background. Only a hint.
void read_ahead(const void* from, std::size_t bytes);

}  // namespace nestvec
