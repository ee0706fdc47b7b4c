// What this build on this machine can do.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "kernels/kernels.hpp"
#include "nestvec/backend.hpp"
#include "parallel.hpp"

namespace py = pybind11;

namespace {

py::dict capabilities() {
  using nestvec::Isa;
  std::vector<std::string> tiers;
  for (Isa isa : {Isa::avx512, Isa::avx2, Isa::neon, Isa::reference})
    if (nestvec::supported(isa)) tiers.emplace_back(nestvec::name(isa));
  py::dict out;
  out["isa"] = nestvec::name(nestvec::chosen_isa());
  out["tiers"] = tiers;
  out["threads"] = nestvec::available_threads();
  return out;
}

std::vector<std::string> backend_names() {
  std::vector<std::string> names;
  for (const nestvec::Backend* backend : nestvec::backends())
    if (backend->count() > 0) names.emplace_back(backend->name);
  return names;
}

}  // namespace

void bind_backend(py::module_& m) {
  m.def("capabilities", &capabilities);
  m.def("backends", &backend_names);
}
