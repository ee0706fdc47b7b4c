// The compiled module: a table of contents, and the translation of exceptions.
#include <pybind11/pybind11.h>

#include "cpp/base/error.hpp"

namespace py = pybind11;

void bind_backend(py::module_& m);
void bind_build(py::module_& m);
void bind_codec(py::module_& m);
void bind_device(py::module_& m);
void bind_encoder(py::module_& m);
void bind_encodings(py::module_& m);
void bind_epilogue(py::module_& m);
void bind_linear(py::module_& m);
void bind_search(py::module_& m);
void bind_topk(py::module_& m);

namespace {

void raise_as(const char* name, const std::exception& error) {
  py::set_error(py::module_::import("nestvec.errors").attr(name), error.what());
}

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  m.attr("__version__") = NESTVEC_VERSION;
  py::register_local_exception_translator([](std::exception_ptr pointer) {
    try {
      std::rethrow_exception(pointer);
    } catch (const nestvec::ArgumentError& error) {
      raise_as("ArgumentError", error);
    } catch (const nestvec::TableFileError& error) {
      raise_as("TableFileError", error);
    } catch (const nestvec::DeviceError& error) {
      raise_as("DeviceError", error);
    }
  });
  bind_backend(m);
  bind_build(m);
  bind_codec(m);
  bind_device(m);
  bind_encoder(m);
  bind_encodings(m);
  bind_epilogue(m);
  bind_linear(m);
  bind_search(m);
  bind_topk(m);
}
