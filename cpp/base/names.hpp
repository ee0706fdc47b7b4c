// Tables of names that callers write, and their look-up.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

#include "cpp/base/error.hpp"

namespace nestvec {

template <class Value>
struct Named {
  std::string_view name;
  Value value;
};

/// The entry called `name`; throws ArgumentError that lists the names. `what` is the kind of thing: "pooling mode".
template <class Entry, std::size_t count>
const Entry& entry_named(const Entry (&table)[count], std::string_view what, std::string_view name) {
  std::string known;
  for (const Entry& entry : table) {
    if (entry.name == name) return entry;
    if (!known.empty()) known += ", ";
    known += entry.name;
  }
  throw ArgumentError(std::string(what) + " is \"" + std::string(name) + "\"; expected one of " + known);
}

template <class Value, std::size_t count>
Value value_named(const Named<Value> (&table)[count], std::string_view what, std::string_view name) {
  return entry_named(table, what, name).value;
}

}  // namespace nestvec
