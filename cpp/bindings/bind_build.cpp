// Building: codebooks, encode_tier, the sizes of codes, checksums and maps of files.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "cpp/base/interrupt.hpp"
#include "cpp/bindings/arrays.hpp"
#include "cpp/bindings/codebook_array.hpp"
#include "cpp/bindings/released_gil.hpp"
#include "cpp/codec/encode.hpp"
#include "cpp/epilogue/normalize.hpp"
#include "cpp/file/checksum.hpp"
#include "cpp/file/map.hpp"

namespace py = pybind11;

namespace nestvec {
namespace {

using Bytes = Array<std::uint8_t>;
using Floats = Array<float>;

/// train_pq. start: a codebook to continue from.
std::shared_ptr<CodebookArray> train(const Floats& sample, const std::string& encoding, std::size_t columns,
                                     const std::shared_ptr<CodebookArray>& start, std::uint64_t seed,
                                     std::size_t iterations, std::size_t threads) {
  const Matrix<const float> rows = as_matrix(sample, "sample");
  Centroids codebook = make_pq(encoding, rows.cols, columns);
  if (rows.rows == 0) throw ArgumentError("the sample holds no rows");
  if (start) {
    check_codebook(codebook.encoding, codebook.dim, &start->view());
    if (start->view().columns() != columns) throw ArgumentError("the codebook is not that of the encoding");
    codebook.values = start->view().centroids()->values;
  }
  Floats centroids({codebook.dim, codebook.count});
  float* out = centroids.mutable_data();
  {
    const ReleasedGil release;
    check_finite(rows, "the sample of x", Encoding::float32, threads);
    const std::vector<float> trained = train_pq(codebook, rows, seed, iterations, threads);
    std::copy(trained.begin(), trained.end(), out);
  }
  return std::make_shared<CodebookArray>(encoding, columns, std::move(centroids));
}

/// A FileMap as a read-only array, which keeps it. Raises OSError.
Bytes map_file(int descriptor, std::size_t bytes) {
  try {
    auto map = std::make_unique<FileMap>(descriptor, bytes);
    const std::uint8_t* data = map->data();
    const py::capsule owner(map.release(), [](void* held) { delete static_cast<FileMap*>(held); });
    Bytes array(std::vector<std::size_t>{bytes}, data, owner);
    array.attr("setflags")(py::arg("write") = false);
    return array;
  } catch (const std::system_error& error) {
    errno = error.code().value();
    PyErr_SetFromErrno(PyExc_OSError);
    throw py::error_already_set();
  }
}

/// The result of encode_tier for a batch.
struct EncodedTier {
  Bytes codes;
  std::optional<Floats> factors, squares;
  double longest_row;
};

/// encode_tier over numpy arrays.
EncodedTier encode(const Floats& x, const std::string& encoding, bool packed, bool cosine,
                   const std::vector<std::size_t>& dims, const std::shared_ptr<CodebookArray>& codebook, bool squares,
                   std::size_t threads) {
  const Matrix<const float> rows = as_matrix(x, "x");
  checked_dim(rows.cols);
  if (dims.empty() || dims.back() != rows.cols || !std::is_sorted(dims.begin(), dims.end()))
    throw ArgumentError("dims must rise to the dimension of x");
  const TierSpec spec{encoding_named(encoding), packed, cosine, dims, codebook ? &codebook->view() : nullptr};
  check_codebook(spec.encoding, rows.cols, spec.codebook);
  const std::size_t blocks = block_count(rows.rows), columns = spec.columns(rows.cols);
  Bytes codes(std::vector<std::size_t>{packed ? blocks * block_bytes(spec.encoding, columns)
                                              : rows.rows * row_bytes(spec.encoding, columns)});
  std::optional<Floats> factors, lengths;
  if (has_factors(spec)) factors.emplace(std::vector<std::size_t>{blocks, dims.size(), kBlockRows});
  if (squares) lengths.emplace(std::vector<std::size_t>{blocks, dims.size(), kBlockRows});
  std::uint8_t* codes_out = codes.mutable_data();
  float* factors_out = factors ? factors->mutable_data() : nullptr;
  float* squares_out = lengths ? lengths->mutable_data() : nullptr;
  double longest;
  {
    const ReleasedGil release;
    check_finite(rows, "x", required_range(spec), threads);
    longest = encode_tier(spec, rows, codes_out, factors_out, threads, squares_out);
  }
  return {std::move(codes), std::move(factors), std::move(lengths), longest};
}

/// Decodes row-major codes: (rows, dim).
Floats decode(const Bytes& codes, const std::string& encoding, std::size_t dim, bool cosine,
              const std::optional<Floats>& factors, const std::shared_ptr<CodebookArray>& codebook,
              std::size_t threads) {
  const Matrix<const std::uint8_t> rows = as_matrix(codes, "codes");
  const TierSpec spec{
      encoding_named(encoding), false, cosine, {checked_dim(dim)}, codebook ? &codebook->view() : nullptr};
  check_codebook(spec.encoding, dim, spec.codebook);
  const std::size_t bytes = row_bytes(spec.encoding, spec.columns(dim));
  if (rows.cols != bytes)
    throw ArgumentError("codes have " + std::to_string(rows.cols) + " bytes a row; expected " + std::to_string(bytes));
  if (has_factors(spec) != factors.has_value())
    throw ArgumentError(std::string("codes of ") + encoding + " come " + (factors ? "without" : "with") + " factors");
  const float* scales = factors ? sized(*factors, rows.rows, "factors") : nullptr;
  Floats out({rows.rows, dim});
  float* values = out.mutable_data();
  const ReleasedGil release;
  decode_rows(spec, rows, scales, values, threads);
  return out;
}

/// Row-major codes as packed blocks, the last one padded.
Bytes pack_rows(const Bytes& codes, const std::string& encoding, std::size_t dim) {
  const Matrix<const std::uint8_t> rows = as_matrix(codes, "codes");
  const Encoding row_encoding = encoding_named(encoding);
  const std::size_t bytes = row_bytes(row_encoding, checked_dim(dim)), block = block_bytes(row_encoding, dim);
  if (rows.cols != bytes)
    throw ArgumentError("codes have " + std::to_string(rows.cols) + " bytes a row; expected " + std::to_string(bytes));
  Bytes out(std::vector<std::size_t>{block_count(rows.rows) * block});
  std::uint8_t* blocks = out.mutable_data();
  const ReleasedGil release;
  InterruptCounter<64> counter;
  for (std::size_t b = 0; b < block_count(rows.rows); ++b) {
    counter.step();
    const std::size_t first = b * kBlockRows;
    pack_block(row_encoding, dim, rows.row(first), std::min(kBlockRows, rows.rows - first), blocks + b * block);
  }
  return out;
}

Array<std::uint32_t> checksums(const Bytes& data) {
  Array<std::uint32_t> out(std::vector<std::size_t>{chunk_count(std::size_t(data.size()))});
  std::uint32_t* sums = out.mutable_data();
  const ReleasedGil release;
  checksum_chunks(data.data(), std::size_t(data.size()), sums, 0);
  return out;
}

}  // namespace
}  // namespace nestvec

void bind_build(py::module_& m) {
  using namespace nestvec;
  m.attr("MAX_DIM") = kMaxDim;
  m.attr("BLOCK_ROWS") = kBlockRows;
  m.attr("CHECKSUM_CHUNK") = kChecksumChunk;
  m.def(
      "pq_columns",
      [](const std::string& encoding, std::size_t dim, std::size_t columns, std::size_t prefix) {
        return columns_of(make_pq(encoding, dim, columns), std::min(prefix, dim));
      },
      py::arg("encoding"), py::arg("dim"), py::arg("columns"), py::arg("prefix"));
  py::class_<CodebookArray, std::shared_ptr<CodebookArray>>(m, "Codebook")
      .def(py::init<const std::string&, std::size_t, Floats>(), py::arg("encoding"), py::arg("columns"),
           py::arg("centroids").noconvert())
      .def_static("train", &train, py::arg("sample").noconvert(), py::arg("encoding"), py::arg("columns"),
                  py::arg("start"), py::arg("seed"), py::arg("iterations"), py::arg("threads"))
      .def_static("of_levels", &CodebookArray::of_levels, py::arg("encoding"), py::arg("dim"),
                  py::arg("levels").noconvert(), py::arg("scaled"), py::arg("importance").noconvert() = py::none())
      .def_property_readonly("values", &CodebookArray::values);
  py::class_<EncodedTier>(m, "EncodedTier")
      .def_readonly("codes", &EncodedTier::codes)
      .def_readonly("factors", &EncodedTier::factors)
      .def_readonly("squares", &EncodedTier::squares)
      .def_readonly("longest_row", &EncodedTier::longest_row);
  m.def("encode_tier", &encode, py::arg("x").noconvert(), py::arg("encoding"), py::arg("packed"), py::arg("cosine"),
        py::arg("dims"), py::arg("codebook"), py::arg("squares"), py::arg("threads"));
  m.def("decode_rows", &decode, py::arg("codes").noconvert(), py::arg("encoding"), py::arg("dim"), py::arg("cosine"),
        py::arg("factors").noconvert(), py::arg("codebook"), py::arg("threads"));
  m.def("pack_rows", &pack_rows, py::arg("codes").noconvert(), py::arg("encoding"), py::arg("dim"));
  m.def("checksums", &checksums, py::arg("data").noconvert());
  m.def(
      "crc32c", [](const Bytes& data) { return crc32c(data.data(), std::size_t(data.size())); },
      py::arg("data").noconvert());
  m.def("map_file", &map_file, py::arg("descriptor"), py::arg("bytes"));
}
