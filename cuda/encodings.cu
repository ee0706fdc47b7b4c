#include "cuda/encodings.hpp"

#include <iterator>
#include <string>

#include "cpp/base/error.hpp"
#include "cuda/kernels/scan.cuh"

namespace nestvec::cuda {
namespace {

template <class Scorer, unsigned kTile>
ScanKernels kernels_of(const char* name) {
  ScanKernels kernels{};
  kernels.name = name;
  kernels.scan = scan_topk<Scorer, kTile>;
  kernels.sample = scan_sample<Scorer, kTile>;
  kernels.tile = kTile;
  kernels.shared_bytes = sizeof(ScanShared<kTile>);
  if constexpr (Scorer::kTables) kernels.table_bytes = Scorer::kWordTables;
  if constexpr (requires { &Scorer::write_query; }) {
    kernels.query_bytes = Scorer::query_bytes;
    kernels.write_query = Scorer::write_query;
  }
  return kernels;
}

template <class Scorer>
QueryKernels queries_by(const char* name) {
  return {kernels_of<Scorer, 1>(name), kernels_of<Scorer, Scorer::kTile>(name), {}};
}

template <class Scorer, class MatrixScorer>
QueryKernels queries_by(const char* name, const char* matrix_name) {
  return {kernels_of<Scorer, 1>(name), kernels_of<Scorer, Scorer::kTile>(name),
          kernels_of<MatrixScorer, MatrixScorer::kTile>(matrix_name)};
}

const DeviceEncoding kDeviceEncodings[] = {
    {.encoding = Encoding::float32, .number = Number::f32, .by_codes = {}, .by_floats = queries_by<DotF32>("dot_f32")},
    {.encoding = Encoding::float16, .number = Number::f16, .by_codes = {}, .by_floats = queries_by<DotF16>("dot_f16")},
    {.encoding = Encoding::bfloat16,
     .number = Number::bf16,
     .by_codes = {},
     .by_floats = queries_by<DotBF16>("dot_bf16")},
    {.encoding = Encoding::int8,
     .number = Number::i8,
     .by_codes = queries_by<DotI8, DotI8Matrix>("dot_i8", "dot_i8_matrix"),
     .by_floats = {}},
    {.encoding = Encoding::binary,
     .number = {},
     .by_codes = queries_by<Hamming, HammingMatrix>("hamming", "hamming_matrix"),
     .by_floats = queries_by<Lut4<8>>("lut4_bits")},
    {.encoding = Encoding::pq8, .number = {}, .by_codes = {}, .by_floats = queries_by<Lut8>("lut8")},
    {.encoding = Encoding::pq4, .number = {}, .by_codes = {}, .by_floats = queries_by<Lut4<4>>("lut4")},
    {.encoding = Encoding::int4,
     .number = {},
     .by_codes = queries_by<DotI4, DotI4Matrix>("dot_i4", "dot_i4_matrix"),
     .by_floats = queries_by<DotI4, DotI4Matrix>("dot_i4", "dot_i4_matrix")},
    {.encoding = Encoding::planes,
     .number = {},
     .by_codes = queries_by<Lut4<8>>("lut4_bits"),
     .by_floats = queries_by<Lut4<8>>("lut4_bits")},
};

static_assert(std::size(kDeviceEncodings) == kEncodingCount);

}  // namespace

const DeviceEncoding& device_encoding(Encoding encoding) {
  if (std::size_t(encoding) >= std::size(kDeviceEncodings))
    throw DeviceError("a CUDA device has no kernels for " + std::string(name(encoding)) +
                      "; use device=\"cpu\", or another codec");
  return kDeviceEncodings[std::size_t(encoding)];
}

}  // namespace nestvec::cuda
