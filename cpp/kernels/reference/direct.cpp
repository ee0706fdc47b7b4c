// One query against row-major rows.
#include "cpp/kernels/reference/half.hpp"

namespace nestvec::reference {
namespace {

void hamming_rows(const uint8_t* rows, size_t stride, size_t count, size_t dim, const void* query, float* scores,
                  float*) {
  const uint8_t* bytes = static_cast<const uint8_t*>(query);
  for (size_t r = 0; r < count; ++r) {
    uint32_t distance = 0;
    for (size_t i = 0; i < dim / 8; ++i) distance += uint32_t(std::popcount(uint8_t(rows[r * stride + i] ^ bytes[i])));
    if (dim % 8)
      distance += uint32_t(std::popcount(uint8_t((rows[r * stride + dim / 8] ^ bytes[dim / 8]) & 0xff00 >> dim % 8)));
    scores[r] = 0.0f - float(distance);
  }
}

void dot_i8_rows(const uint8_t* rows, size_t stride, size_t count, size_t dim, const void* query, float* scores,
                 float*) {
  const int8_t* values = static_cast<const int8_t*>(query) + 4;
  for (size_t r = 0; r < count; ++r) {
    int32_t sum = 0;
    for (size_t i = 0; i < dim; ++i) sum += int8_t(rows[r * stride + i]) * values[i];
    scores[r] = float(sum);
  }
}

/// `widen` makes a Value a float.
template <class Value, class Widen>
void dot_rows(const uint8_t* rows, size_t stride, size_t count, size_t dim, const void* query, float* scores,
              float* squares, const Widen& widen) {
  const float* values = static_cast<const float*>(query);
  for (size_t r = 0; r < count; ++r) {
    float sum = 0, square = 0;
    for (size_t i = 0; i < dim; ++i) {
      Value code;
      __builtin_memcpy(&code, rows + r * stride + i * sizeof code, sizeof code);
      const float x = widen(code);
      sum += x * values[i];
      square += x * x;
    }
    scores[r] = sum;
    squares[r] = square;
  }
}

void dot_f32_rows(const uint8_t* rows, size_t stride, size_t count, size_t dim, const void* query, float* scores,
                  float* squares) {
  dot_rows<float>(rows, stride, count, dim, query, scores, squares, [](float x) { return x; });
}

void dot_f16_rows(const uint8_t* rows, size_t stride, size_t count, size_t dim, const void* query, float* scores,
                  float* squares) {
  dot_rows<uint16_t>(rows, stride, count, dim, query, scores, squares, [](uint16_t half) {
    float x;
    half_to_float(&half, &x, 1);
    return x;
  });
}

void dot_exact(const float* x, const float* y, size_t dim, double* out) {
  double sum[8] = {};
  size_t i = 0;
  for (; i + 8 <= dim; i += 8)
    for (size_t j = 0; j < 8; ++j) sum[j] += double(x[i + j]) * y[i + j];
  for (; i < dim; ++i) sum[i % 8] += double(x[i]) * y[i];
  *out = ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

}  // namespace

void install_direct(Kernels& kernels) {
  kernels.hamming_rows = hamming_rows;
  kernels.dot_i8_rows = dot_i8_rows;
  kernels.dot_f32_rows = dot_f32_rows;
  kernels.dot_f16_rows = dot_f16_rows;
  kernels.dot_exact = dot_exact;
}

}  // namespace nestvec::reference
