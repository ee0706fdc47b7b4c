// The device's table of encodings against the library's: the same rows, scanned by the same kinds of queries.
#include "cuda/encodings.hpp"

#include "tests/cpp/check.hpp"
#include "tests/cpp/oracle.hpp"

namespace {

using namespace nestvec;

}  // namespace

TEST(rows_are_those_of_the_library) {
  for (Encoding encoding : oracle::kEncodings) {
    const cuda::DeviceEncoding& on_device = cuda::device_encoding(encoding);
    CHECK(on_device.encoding == encoding, name(encoding));
    for (QueryKind kind : {QueryKind::codes, QueryKind::look_ups}) {
      const cuda::QueryKernels& kernels = on_device.scan(kind);
      const bool scanned = traits(encoding).scan(kind).kernel != nullptr;
      CHECK((kernels.single.name != nullptr) == scanned && (kernels.tiles.name != nullptr) == scanned, name(encoding));
      CHECK(!scanned || (kernels.single.tile == 1 && kernels.tiles.tile > 1), name(encoding));
    }
  }
}

TEST(matrix_instructions_are_for_several_queries) {
  const cuda::QueryKernels& bits = cuda::device_encoding(Encoding::binary).by_codes;
  CHECK(&bits.for_queries(1, true) == &bits.single && &bits.for_queries(2, true) == &bits.matrix);
  CHECK(&bits.for_queries(2, false) == &bits.tiles);
  const cuda::QueryKernels& floats = cuda::device_encoding(Encoding::float32).by_floats;
  CHECK(&floats.for_queries(2, true) == &floats.tiles);
}
