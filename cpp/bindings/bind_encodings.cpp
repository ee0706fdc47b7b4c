// The table of encodings.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <string_view>

#include "cpp/codec/encoding.hpp"

namespace py = pybind11;

namespace nestvec {
namespace {

std::string_view meaning_name(Meaning meaning) {
  switch (meaning) {
    case Meaning::values:
      return "values";
    case Meaning::signs:
      return "signs";
    case Meaning::centroids:
      return "centroids";
    case Meaning::levels:
      break;
  }
  return "levels";
}

/// A word's items in a table file: () or (items,).
py::tuple word_shape(const EncodingTraits& of) {
  const std::size_t items = of.layout.word_bytes / of.layout.item_bytes;
  return items == 1 ? py::tuple() : py::make_tuple(items);
}

}  // namespace
}  // namespace nestvec

void bind_encodings(py::module_& m) {
  using Of = nestvec::EncodingTraits;
  py::class_<Of>(m, "Encoding")
      .def_property_readonly("name", [](const Of& of) { return of.name; })
      .def_property_readonly("meaning", [](const Of& of) { return nestvec::meaning_name(of.meaning); })
      .def_property_readonly("word_bytes", [](const Of& of) { return of.layout.word_bytes; })
      .def_property_readonly("dims_per_word", [](const Of& of) { return of.layout.dims_per_word(); })
      .def_property_readonly("bits_per_dim", [](const Of& of) { return of.layout.bits_per_dim; })
      .def_property_readonly("dtype", [](const Of& of) { return of.layout.dtype; })
      .def_property_readonly("item_bytes", [](const Of& of) { return of.layout.item_bytes; })
      .def_property_readonly("word_shape", &nestvec::word_shape)
      .def_property_readonly("centroids", [](const Of& of) { return of.product.centroids; })
      .def_property_readonly("row_scale", [](const Of& of) { return of.plain.row_scale; })
      .def("columns", &Of::columns, py::arg("dim"), py::arg("sub_quantizers") = 0, py::arg("bits") = 0)
      .def(
          "words", [](const Of& of, std::size_t columns) { return of.layout.words(columns); }, py::arg("columns"))
      .def(
          "row_bytes", [](const Of& of, std::size_t columns) { return of.layout.row_bytes(columns); },
          py::arg("columns"))
      .def(
          "block_bytes", [](const Of& of, std::size_t columns) { return of.layout.block_bytes(columns); },
          py::arg("columns"))
      .def("has_factors", &Of::has_factors, py::arg("cosine"), py::arg("scaled_levels"))
      .def("two_ways", &Of::two_ways, py::arg("scaled_levels"));
  m.def("encodings", [] {
    py::list all;
    for (const Of& of : nestvec::encodings()) all.append(py::cast(&of, py::return_value_policy::reference));
    return all;
  });
}
