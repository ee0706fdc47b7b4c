// The steps after the pooling, and the kernel that runs them on rows and codes the rows.
#pragma once
#include "cpp/epilogue/epilogue.hpp"
#include "cuda/kernels/codec.cuh"
#include "cuda/kernels/normalize.cuh"
#include "cuda/kernels/pooling.cuh"
#include "cuda/launch.hpp"

namespace nestvec::cuda {

/// A step that changes rows in place: layer normalisation, or L2 if it has no weight.
struct RowStep {
  const float *weight, *bias;
  double eps;
};

/// The task for rows of `width` values: steps, then a cut to `dim`, then codes.
struct RowTask {
  std::size_t rows;
  unsigned width, dim;
  const RowStep* steps;
  unsigned step_count;
  bool unit_length;  ///< rows are scaled to unit length after the cut
  Coding coding;
  float* scratch;       ///< width floats for each block of the grid; null: rows are in shared memory
  ValueErrors* errors;  ///< of the rows' final values; null: not checked
  float limit;          ///< of their magnitudes
};

struct RowShared {
  double sum;
  unsigned max;
};

/// Notes the values that are not below the limit; returns whether all are.
__device__ inline bool all_below(const float* x, unsigned count, std::size_t row, float limit, ValueErrors* errors) {
  unsigned bad = 0, first = 0;
  for (unsigned i = threadIdx.x; i < count; i += blockDim.x) {
    if (fabsf(x[i]) < limit) continue;
    if (bad == 0) first = i;
    ++bad;
  }
  if (bad != 0) {
    atomicAdd(&errors->values, bad);
    atomicMax(&errors->first_value, ~(row * count + first));
  }
  const bool good = __syncthreads_or(int(bad)) == 0;
  if (!good && threadIdx.x == 0) atomicAdd(&errors->rows, 1);
  return good;
}

/// Rows in device memory.
struct MatrixSource {
  struct Shared {};
  const float* data;
  ValueErrors* errors;  ///< of the rows as they are read; null: not checked
  float limit;

  __device__ bool load(std::size_t row, unsigned width, Shared&, float* out) const {
    const float* in = data + row * width;
    for (unsigned i = threadIdx.x; i < width; i += blockDim.x) out[i] = in[i];
    return errors == nullptr || all_below(in, width, row, limit, errors);
  }
};

/// Rows that are the texts' pooled hidden states.
template <class Access>
struct PoolingSource {
  using Shared = TokenList;
  Pooling pooling;

  __device__ bool load(std::size_t row, unsigned, Shared& tokens, float* out) const {
    for (unsigned begin = 0; begin < pooling.dim; begin += blockDim.x * Access::kWidth)
      pool_slice<Access>(pooling, row, begin, tokens, out);
    return true;
  }
};

/// The shared memory of code_rows; the row follows it.
template <class Source>
struct CodeRowsShared {
  RowShared row;
  typename Source::Shared source;
};

inline constexpr unsigned kRowThreads = 128;

/// A block of threads takes one row at a time from its source to its codes.
template <class Source>
__global__ void __launch_bounds__(kRowThreads) code_rows_kernel(Source source, RowTask task) {
  auto& shared = shared_memory<CodeRowsShared<Source>>();
  float* x = task.scratch ? task.scratch + std::size_t{blockIdx.x} * task.width : shared_tail<float>(shared);
  for (std::size_t row = blockIdx.x; row < task.rows; row += gridDim.x) {
    if (source.load(row, task.width, shared.source, x)) {
      for (unsigned s = 0; s < task.step_count; ++s) {
        const RowStep& step = task.steps[s];
        if (step.weight != nullptr)
          layer_norm_row(x, task.width, step.weight, step.bias, step.eps, shared.row.sum);
        else
          normalize_row(x, task.width, shared.row.sum);
      }
      if (task.unit_length) normalize_row(x, task.dim, shared.row.sum);
      __syncthreads();
      if (task.errors == nullptr || all_below(x, task.dim, row, task.limit, task.errors))
        code_row(task.coding, row, x, task.dim, shared.row.max);
    }
    __syncthreads();  // the row is coded: its memory is free
  }
}

/// The pooling alone, for few texts: each is cut into slices of dimensions. Block b pools slice b % slices of text
/// b / slices.
template <class Access>
__global__ void __launch_bounds__(kRowThreads) pooling_kernel(Pooling pooling, unsigned slices, float* out) {
  auto& tokens = shared_memory<TokenList>();
  const std::size_t text = blockIdx.x / slices;
  pool_slice<Access>(pooling, text, blockIdx.x % slices * blockDim.x * Access::kWidth, tokens,
                     out + text * pooling.mode_count * pooling.dim);
}

__device__ inline float sigmoid(float x) { return 1 / (1 + expf(-x)); }

__device__ inline float activated(Activation activation, float x) {
  switch (activation) {
    case Activation::identity:
      break;
    case Activation::tanh:
      return tanhf(x);
    case Activation::relu:
      return x < 0 ? 0 : x;  // keeps a NaN
    case Activation::gelu:
      return x / 2 * (1 + erff(x * 0.70710678f));
    case Activation::sigmoid:
      return sigmoid(x);
    case Activation::silu:
      return x * sigmoid(x);
  }
  return x;
}

/// A Dense step on the device: weight is out x in.
struct Dense {
  const float *weight, *bias;
  unsigned in, out;
  Activation activation;
};

inline constexpr unsigned kDenseThreads = 128, kDenseLanes = 16;

/// y = activation(weight x + bias). 16 threads share kTexts x kOuts sums: thread l adds the products of the dimensions
/// l, l + 16, ..., then the 16 partial sums are halved. A loaded weight serves kTexts rows, a row's value kOuts sums: 8
/// x 4 make 12 loads for 64 operations.
template <unsigned kTexts, unsigned kOuts>
__global__ void __launch_bounds__(kDenseThreads) dense_kernel(Dense dense, const float* x, std::size_t rows, float* y) {
  constexpr unsigned kSums = kTexts * kOuts, kOutsOfBlock = kDenseThreads / kDenseLanes * kOuts;
  const unsigned lane = threadIdx.x % kDenseLanes, tiles = (dense.out - 1) / kOutsOfBlock + 1;
  const unsigned first_out = blockIdx.x % tiles * kOutsOfBlock + threadIdx.x / kDenseLanes * kOuts;
  const std::size_t first_row = std::size_t{blockIdx.x / tiles} * kTexts;
  // Clamped: past the last, the last is repeated, and those sums are not stored.
  const float *values[kTexts], *weights[kOuts];
#pragma unroll
  for (unsigned r = 0; r < kTexts; ++r) values[r] = x + (first_row + r < rows ? first_row + r : rows - 1) * dense.in;
#pragma unroll
  for (unsigned o = 0; o < kOuts; ++o)
    weights[o] = dense.weight + std::size_t{first_out + o < dense.out ? first_out + o : dense.out - 1} * dense.in;

  float sums[kSums] = {};
  for (unsigned i = lane; i < dense.in; i += kDenseLanes) {
    float weight[kOuts];
#pragma unroll
    for (unsigned o = 0; o < kOuts; ++o) weight[o] = __ldg(weights[o] + i);
#pragma unroll
    for (unsigned r = 0; r < kTexts; ++r) {
      const float value = values[r][i];
#pragma unroll
      for (unsigned o = 0; o < kOuts; ++o) sums[r * kOuts + o] += weight[o] * value;
    }
  }

  // Every lane has all sums in the end, and finishes those whose number modulo 16 is the lane's.
  float mine[(kSums - 1) / kDenseLanes + 1] = {};
#pragma unroll
  for (unsigned s = 0; s < kSums; ++s) {
    float sum = sums[s];
    for (int other = kDenseLanes / 2; other > 0; other /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, other);
    if (lane == s % kDenseLanes) mine[s / kDenseLanes] = sum;
  }
#pragma unroll
  for (unsigned s = 0; s < kSums; s += kDenseLanes) {
    const std::size_t row = first_row + (s + lane) / kOuts;
    const unsigned out = first_out + (s + lane) % kOuts;
    if (s + lane < kSums && row < rows && out < dense.out)
      y[row * dense.out + out] = activated(dense.activation, mine[s / kDenseLanes] + dense.bias[out]);
  }
}

}  // namespace nestvec::cuda
