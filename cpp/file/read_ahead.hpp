// Asking for memory before it is read.
#pragma once
#include <cstddef>

namespace nestvec {

/// Lets the kernel fetch the pages under [from, from + bytes) of a mapped file while the caller goes on. Only a hint.
void read_ahead(const void* from, std::size_t bytes);

}  // namespace nestvec
