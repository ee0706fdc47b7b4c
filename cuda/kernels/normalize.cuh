// L2 and layer normalisation of one row by all threads of a block: the arithmetic of cpp/epilogue/normalize.cpp.
#pragma once
#include "cuda/launch.hpp"

namespace nestvec::cuda {

/// The sum of term(x[i]), the same in every thread: in double, lane l of 8 takes the dimensions l, l + 8, ..., then the
/// lanes are added pairwise. 8 threads of the block add, at the latency of dependent additions; other blocks' rows keep
/// the machine busy. x may have been written by other threads of the block.
template <class Term>
__device__ double row_sum(const float* x, unsigned count, double& shared_sum, Term term) {
  __syncthreads();
  if (threadIdx.x < 32) {
    double sum = 0;
    if (threadIdx.x < 8) {
#pragma unroll 8
      for (unsigned i = threadIdx.x; i < count; i += 8) sum += term(double(x[i]));
    }
    for (int other = 1; other < 8; other *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, other);
    if (threadIdx.x == 0) shared_sum = sum;
  }
  __syncthreads();
  return shared_sum;
}

__device__ inline void normalize_row(float* x, unsigned count, double& shared_sum) {
  const double squares = row_sum(x, count, shared_sum, [](double v) { return v * v; });
  if (squares == 0) return;
  const double factor = 1 / sqrt(squares);
  for (unsigned i = threadIdx.x; i < count; i += blockDim.x) x[i] = float(x[i] * factor);
}

__device__ inline void layer_norm_row(float* x, unsigned count, const float* weight, const float* bias, double eps,
                                      double& shared_sum) {
  const double mean = row_sum(x, count, shared_sum, [](double v) { return v; }) / double(count);
  const double variance =
      row_sum(x, count, shared_sum, [mean](double v) { return (v - mean) * (v - mean); }) / double(count);
  const double factor = 1 / sqrt(variance + eps);
  for (unsigned i = threadIdx.x; i < count; i += blockDim.x) x[i] = float((x[i] - mean) * factor * weight[i] + bias[i]);
}

}  // namespace nestvec::cuda
