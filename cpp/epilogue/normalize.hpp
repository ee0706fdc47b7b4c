// L2 and layer normalisation of rows. Both accumulate in double, in one fixed order: lane l of 8 takes the dimensions
// l, l + 8, l + 16, ..., then the lanes are added pairwise. A row's result depends on that row alone.
#pragma once
#include <cstddef>

#include "cpp/base/matrix.hpp"

namespace nestvec {

/// Scales each row to unit length. A row of zeros stays zero; no other finite row overflows or vanishes.
void normalize_rows(Matrix<float> x);

/// (x - mean) / sqrt(variance + eps) * weight + bias for each row, with the variance over dim, not dim - 1
/// (Ba et al. 2016, arXiv:1607.06450; torch.nn.LayerNorm). weight, bias: x.cols floats.
void layer_norm_rows(Matrix<float> x, const float* weight, const float* bias, double eps);

}  // namespace nestvec
