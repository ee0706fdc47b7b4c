// What a device must offer. The list is the only place that knows which devices a build has.
#pragma once
#include <span>
#include <string_view>

#include "nestvec/scan.hpp"

namespace nestvec {

struct Backend {
  std::string_view name;
  bool (*available)();  ///< this machine has such a device
  void (*scan)(const ScanRows& rows, const ScanQueries& queries, std::size_t k, std::size_t threads, Candidate* out);
};

/// All backends of this build; "cpu" is the last and always available.
std::span<const Backend* const> backends();

}  // namespace nestvec
