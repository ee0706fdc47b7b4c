// Linear algebra in double, which parameters are learned by. Sums and products are rounded one by one in a fixed order:
// the same bits for any number of threads and on any CPU. threads: as in quantize.hpp. Values must be finite.
#pragma once
#include <cstddef>

#include "cpp/base/matrix.hpp"

namespace nestvec {

/// result = a b, a.rows x b.cols; each sum from the first product to the last. b has a.cols rows.
void multiply(Matrix<const double> a, Matrix<const double> b, double* result, std::size_t threads);

/// Eigenvalues of a symmetric matrix in falling order, and the eigenvector of each as a row of `vectors`, of length 1:
/// Householder's tridiagonal form, then the implicit QL algorithm (Wilkinson, Reinsch 1971). Errors are below 1e-13 of
/// the largest value. vectors: the shape of a.
void eigen_symmetric(Matrix<const double> a, double* values, double* vectors, std::size_t threads);

/// An orthogonal matrix, rows.cols x rows.cols. Its first n rows span what the first n of `rows` do, whatever n, and
/// row n does not point away from row n of `rows` (Householder's QR decomposition, transposed). Where the rows are
/// dependent, and from rows.rows on, it is any such matrix. rows.rows <= rows.cols.
void orthonormal_rows(Matrix<const double> rows, double* result, std::size_t threads);

}  // namespace nestvec
