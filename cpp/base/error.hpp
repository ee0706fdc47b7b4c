// The library's exceptions. The bindings turn each into the Python class of the same name in nestvec.errors.
#pragma once
#include <stdexcept>

namespace nestvec {

/// An argument that cannot be used. The message says what was given, what was expected and what to do.
struct ArgumentError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

/// A table file that is truncated, damaged or foreign.
struct TableFileError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// An ISA, backend or device that this machine or this build does not have.
struct DeviceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace nestvec
