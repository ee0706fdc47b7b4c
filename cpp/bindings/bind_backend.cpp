// The capabilities of this build on this machine.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "cpp/base/error.hpp"
#include "cpp/base/parallel.hpp"
#include "cpp/device/backend.hpp"
#include "cpp/kernels/kernels.hpp"

namespace py = pybind11;

namespace {

py::dict capabilities() {
  using nestvec::Isa;
  std::vector<std::string> isas;
  for (Isa isa : {Isa::avx512, Isa::avx2, Isa::neon, Isa::reference})
    if (nestvec::supported(isa)) isas.emplace_back(nestvec::name(isa));
  py::dict out;
  out["isa"] = nestvec::name(nestvec::chosen_isa());
  out["isas"] = isas;
  out["threads"] = nestvec::available_threads();
  return out;
}

std::vector<std::string> backend_names() {
  std::vector<std::string> names;
  for (const nestvec::Backend* backend : nestvec::backends())
    if (backend->count() > 0) names.emplace_back(backend->name);
  return names;
}

/// The CUDA backend: whether this build has it, the bytes free on each device, and why it cannot be used.
py::dict cuda_report() {
  std::vector<std::size_t> free_memory;
  py::object problem = py::none();
  try {
    const nestvec::Backend* cuda = nestvec::device_named("cuda").backend;
    for (std::size_t i = 0; i < cuda->count(); ++i) free_memory.push_back(cuda->free_memory(int(i)));
  } catch (const nestvec::DeviceError& error) {
    problem = py::str(error.what());
  }
  py::dict out;
  out["built"] = nestvec::cuda_backend() != nullptr;
  out["free_memory"] = free_memory;
  out["problem"] = problem;
  return out;
}

}  // namespace

void bind_backend(py::module_& m) {
  m.def("capabilities", &capabilities);
  m.def("backends", &backend_names);
  m.def("cuda_report", &cuda_report);
}
