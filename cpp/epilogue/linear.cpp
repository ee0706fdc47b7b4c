#include "cpp/epilogue/linear.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "cpp/base/parallel.hpp"
#include "cpp/codec/quantize.hpp"
#include "cpp/kernels/kernels.hpp"

namespace nestvec {
namespace {

constexpr std::size_t kLanes = 16;                           // the kernel's outputs: a multiple of this
constexpr std::size_t kTaskProducts = std::size_t{1} << 22;  // about 0.3 ms
constexpr std::size_t kLeastTaskRows = 16;                   // to share a task's reads of the matrix
constexpr std::size_t kLeastRowsOfMany = 96;                 // the same, with tasks enough for 16 threads
constexpr std::size_t kBlockedRows = 64;                     // from here on, a copy of the matrix costs little
constexpr std::size_t kBlock = 3 * kLanes;                   // columns; a multiple of every kernel's panel

/// A matrix in blocks of `block` columns, one after another, each row-major; padded with columns of zeros to `wide`.
std::vector<float> in_blocks(const float* data, std::size_t rows, std::size_t cols, std::size_t wide,
                             std::size_t block) {
  std::vector<float> blocks(rows * wide);
  for (std::size_t j = 0; j < cols && data; j += block) {
    const std::size_t width = std::min(block, wide - j), given = std::min(width, cols - j);
    for (std::size_t r = 0; r < rows; ++r) std::copy_n(data + r * cols + j, given, &blocks[j * rows + r * width]);
  }
  return blocks;
}

}  // namespace

void linear(Matrix<const float> matrix, const float* start, Matrix<const float> x, float* result, std::size_t threads) {
  const std::size_t out = matrix.cols, wide = (out + kLanes - 1) / kLanes * kLanes;
  // A panel of columns of a wide matrix has a line in each page, and at 1,024 columns all of them in the same few sets
  // of the caches.
  const std::size_t block = x.rows < kBlockedRows ? std::max(wide, kBlock) : kBlock;
  const bool padded = wide != out;
  const bool copied = padded || wide > block;
  const std::vector<float> columns =
                               copied ? in_blocks(matrix.data, matrix.rows, out, wide, block) : std::vector<float>(),
                           first = !padded && start ? std::vector<float>()
                                                    : in_blocks(start, 1, out, wide, std::max(wide, kBlock));
  const std::size_t products = std::max<std::size_t>(1, matrix.rows * wide),
                    least = x.rows < 16 * kLeastRowsOfMany ? kLeastTaskRows : kLeastRowsOfMany,
                    task_rows = std::max(least, kTaskProducts / products);
  parallel_for((x.rows + task_rows - 1) / task_rows, threads, [&](std::size_t, std::size_t task) {
    const std::size_t begin = task * task_rows, rows = std::min(task_rows, x.rows - begin);
    std::vector<float> wider(padded ? rows * wide : 0);
    float* to = padded ? wider.data() : result + begin * out;
    for (std::size_t j = 0; j < wide; j += block) {
      const MatrixProduct product{.matrix = copied ? columns.data() + j * matrix.rows : matrix.data,
                                  .in = matrix.rows,
                                  .out = std::min(block, wide - j),
                                  .start = (first.empty() ? start : first.data()) + j,
                                  .x = x.row(begin),
                                  .x_stride = x.cols,
                                  .rows = rows};
      kernels().linear(product, to + j, wide);
    }
    for (std::size_t r = 0; r < rows && padded; ++r) std::copy_n(&wider[r * wide], out, result + (begin + r) * out);
  });
}

namespace {

/// Sums and differences of values `step`, 2 * step, ... apart, in x of `count`: both powers of two.
void butterflies(float* x, std::size_t count, std::size_t step) {
  // Two levels at a time halve the loads and stores, and keep the order of additions.
  for (; 2 * step < count; step *= 4)
    for (std::size_t first = 0; first < count; first += 4 * step) {
      float* __restrict x0 = x + first;
      float* __restrict x1 = x0 + step, * __restrict x2 = x1 + step, * __restrict x3 = x2 + step;
      for (std::size_t i = 0; i < step; ++i) {
        const float a = x0[i] + x1[i], b = x0[i] - x1[i], c = x2[i] + x3[i], d = x2[i] - x3[i];
        x0[i] = a + c;
        x1[i] = b + d;
        x2[i] = a - c;
        x3[i] = b - d;
      }
    }
  if (step < count) {
    float* __restrict x0 = x, * __restrict x1 = x + step;
    for (std::size_t i = 0; i < step; ++i) {
      const float a = x0[i], b = x1[i];
      x0[i] = a + b;
      x1[i] = a - b;
    }
  }
}

/// One row's rotation, in loops over neighbouring values, which compilers vectorize.
class Rotation {
 public:
  Rotation(Matrix<const std::uint8_t> signs, std::size_t dim)
      : rounds_(signs.rows), dim_(dim), part_(std::bit_floor(dim)), stride_(8 * signs.cols), flips_(rounds_ * stride_) {
    // The signs before a transform hold its scale: no sum overflows unless the result does.
    const float scale = float(1 / std::sqrt(double(part_)));
    for (std::size_t round = 0; round < rounds_; ++round) {
      float* flips = &flips_[round * stride_];
      for (std::size_t byte = 0; byte < signs.cols; ++byte)
        for (std::size_t bit = 0; bit < 8; ++bit)
          flips[8 * byte + bit] = signs.row(round)[byte] & 128U >> bit ? -1.0F : 1.0F;
      for (std::size_t i = 0; i < part_; ++i) flips[begin(round) + i] *= scale;
    }
  }

  void turn(float* row, float* scratch) const {
    for (std::size_t round = 0; round < rounds_; ++round) {
      if (has_step(round)) step(row);
      flip(round, row);
      transform(row + begin(round), scratch, columns());
    }
  }

  void turn_back(float* row, float* scratch) const {
    for (std::size_t round = rounds_; round-- > 0;) {
      transform(row + begin(round), scratch, part_ / columns());
      flip(round, row);
      if (has_step(round)) step(row);
    }
  }

  std::size_t scratch_size() const { return part_; }

 private:
  std::size_t begin(std::size_t round) const { return round % 2 ? dim_ - part_ : 0; }

  bool has_step(std::size_t round) const { return part_ < dim_ && round > 0 && round % 2 == 0; }

  /// Columns of the part as an almost square matrix.
  std::size_t columns() const { return std::size_t{1} << (std::bit_width(part_) / 2); }

  void flip(std::size_t round, float* row) const {
    for (std::size_t i = 0; i < dim_; ++i) row[i] *= flips_[round * stride_ + i];
  }

  void step(float* row) const {
    const float scale = float(std::sqrt(0.5));
    float* __restrict first = row, * __restrict second = row + (dim_ - dim_ / 2);
    for (std::size_t i = 0; i < dim_ / 2; ++i) {
      const float a = first[i] * scale, b = second[i] * scale;
      first[i] = a + b;
      second[i] = a - b;
    }
  }

  /// The part as a matrix with this many columns: transform the columns, transpose, transform the columns again.
  /// The result stays transposed, which is as good a rotation. The inverse is the same with the transposed shape.
  void transform(float* __restrict x, float* __restrict scratch, std::size_t columns) const {
    const std::size_t rows = part_ / columns;
    butterflies(x, part_, columns);
    for (std::size_t c = 0; c < columns; ++c)
      for (std::size_t r = 0; r < rows; ++r) scratch[c * rows + r] = x[r * columns + c];
    butterflies(scratch, part_, rows);
    std::copy_n(scratch, part_, x);
  }

  std::size_t rounds_, dim_, part_, stride_;
  std::vector<float> flips_;  // per round: stride_ signs, scaled
};

}  // namespace

void hadamard(Matrix<const std::uint8_t> signs, bool inverse, Matrix<const float> x, float* result,
              std::size_t threads) {
  if (x.rows == 0) return;
  const Rotation rotation(signs, x.cols);
  for_row_chunks(x, threads, [&](std::size_t first, Matrix<const float> chunk) {
    std::vector<float> scratch(rotation.scratch_size());
    for (std::size_t r = 0; r < chunk.rows; ++r) {
      float* row = std::copy_n(chunk.row(r), x.cols, result + (first + r) * x.cols) - x.cols;
      inverse ? rotation.turn_back(row, scratch.data()) : rotation.turn(row, scratch.data());
    }
  });
}

}  // namespace nestvec
