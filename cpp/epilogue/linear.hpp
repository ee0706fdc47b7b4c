// Linear maps of rows, the same bits for any number of rows and threads and on any CPU. threads: as in quantize.hpp.
// Values that are not finite follow the rules of float arithmetic.
#pragma once
#include <cstddef>
#include <cstdint>

#include "cpp/base/matrix.hpp"

namespace nestvec {

/// result[r] = start + x[r][0] * matrix[0] + x[r][1] * matrix[1] + ...: products and sums rounded to float, in this
/// order. matrix: x.cols rows. start: matrix.cols floats, or null for zeros. result: x.rows x matrix.cols.
void linear(Matrix<const float> matrix, const float* start, Matrix<const float> x, float* result, std::size_t threads);

/// A random rotation of each row, by rounds of random signs and fast Walsh-Hadamard transforms (Ailon and Chazelle,
/// The fast Johnson-Lindenstrauss transform, 2009). Round r:
///
///     step       (a + b, a - b) / sqrt(2)   of Kac's walk, before rounds 2, 4, ... if dim is no power of two:
///                                           a from the first half of the dimensions, b from the second
///     signs      +-x                        each dimension
///     transform  orthogonal Hadamard        as many dimensions as the largest power of two: the first in even rounds,
///                                           the last in odd rounds
///
/// It is orthogonal up to float rounding and takes about dim * log2(dim) operations a round. After 4 rounds the entries
/// of its matrix are as good as normally distributed for any dim (kurtosis 2.9 to 3.2 from 64 dimensions on).
/// inverse: undoes the rotation.
/// signs: a row of x.cols bits for each round, most significant bit first, 1 for minus. result: the shape of x.
void hadamard(Matrix<const std::uint8_t> signs, bool inverse, Matrix<const float> x, float* result,
              std::size_t threads);

}  // namespace nestvec
