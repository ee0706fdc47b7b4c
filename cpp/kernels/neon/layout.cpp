// NEON: packing rows into blocks: tiles of a few rows x a few words, transposed in registers.
#include "cpp/kernels/neon/neon.hpp"

namespace nestvec::neon {
namespace {

inline void copy_word(const uint8_t* from, uint8_t* to, size_t word_bytes) {
  if (word_bytes == 8)
    __builtin_memcpy(to, from, 8);
  else if (word_bytes == 4)
    __builtin_memcpy(to, from, 4);
  else
    *to = *from;
}

struct Words8 {
  static constexpr size_t kBytes = 8, kRows = 2, kWords = 2;
  static void transpose(const uint8_t* rows, size_t stride, uint8_t* block) {
    const uint64x2_t a = vreinterpretq_u64_u8(vld1q_u8(rows)), b = vreinterpretq_u64_u8(vld1q_u8(rows + stride));
    vst1q_u8(block, vreinterpretq_u8_u64(vzip1q_u64(a, b)));
    vst1q_u8(block + kBlockRows * kBytes, vreinterpretq_u8_u64(vzip2q_u64(a, b)));
  }
};

struct Words4 {
  static constexpr size_t kBytes = 4, kRows = 4, kWords = 4;
  static void transpose(const uint8_t* rows, size_t stride, uint8_t* block) {
    uint32x4_t row[4];
    for (size_t r = 0; r < 4; ++r) row[r] = vreinterpretq_u32_u8(vld1q_u8(rows + r * stride));
    const uint32x4_t low[] = {vzip1q_u32(row[0], row[2]), vzip1q_u32(row[1], row[3])};   // words 0 and 1
    const uint32x4_t high[] = {vzip2q_u32(row[0], row[2]), vzip2q_u32(row[1], row[3])};  // words 2 and 3
    const uint32x4_t words[] = {vzip1q_u32(low[0], low[1]), vzip2q_u32(low[0], low[1]), vzip1q_u32(high[0], high[1]),
                                vzip2q_u32(high[0], high[1])};
    for (size_t w = 0; w < 4; ++w) vst1q_u8(block + w * kBlockRows * kBytes, vreinterpretq_u8_u32(words[w]));
  }
};

struct Words1 {
  static constexpr size_t kBytes = 1, kRows = 8, kWords = 16;
  static void transpose(const uint8_t* rows, size_t stride, uint8_t* block) {
    uint8x16_t from[8], to[8];
    for (size_t r = 0; r < 8; ++r) from[r] = vld1q_u8(rows + r * stride);
    for (int step = 0; step < 3; ++step) {  // a perfect shuffle of the 8 registers' bytes; three of them transpose
      for (size_t i = 0; i < 4; ++i) {
        to[i * 2] = vzip1q_u8(from[i], from[i + 4]);
        to[i * 2 + 1] = vzip2q_u8(from[i], from[i + 4]);
      }
      for (size_t i = 0; i < 8; ++i) from[i] = to[i];
    }
    for (size_t w = 0; w < 16; w += 2) {
      vst1_u8(block + w * kBlockRows, vget_low_u8(from[w / 2]));
      vst1_u8(block + (w + 1) * kBlockRows, vget_high_u8(from[w / 2]));
    }
  }
};

/// 64 bytes at a time: a cache line of each row is read whole while the lines that are written stay in the cache.
template <class Words>
void interleave_words(const uint8_t* rows, size_t stride, size_t count, size_t words, uint8_t* block) {
  constexpr size_t kBytes = Words::kBytes, kLine = 64 / kBytes;
  for (size_t first = 0; first < words; first += kLine) {
    const size_t end = first + kLine < words ? first + kLine : words;
    const size_t whole_end = first + (end - first) / Words::kWords * Words::kWords;
    const size_t whole_rows = count / Words::kRows * Words::kRows;
    for (size_t r = 0; r < whole_rows; r += Words::kRows)
      for (size_t w = first; w < whole_end; w += Words::kWords)
        Words::transpose(rows + r * stride + w * kBytes, stride, block + (w * kBlockRows + r) * kBytes);
    for (size_t r = 0; r < count; ++r)
      for (size_t w = r < whole_rows ? whole_end : first; w < end; ++w)
        copy_word(rows + r * stride + w * kBytes, block + (w * kBlockRows + r) * kBytes, kBytes);
  }
}

void interleave(const uint8_t* rows, size_t stride, size_t count, size_t words, size_t word_bytes, uint8_t* block) {
  if (word_bytes == 8) return interleave_words<Words8>(rows, stride, count, words, block);
  if (word_bytes == 4) return interleave_words<Words4>(rows, stride, count, words, block);
  interleave_words<Words1>(rows, stride, count, words, block);
}

}  // namespace

void install_layout(Kernels& kernels) { kernels.interleave = interleave; }

}  // namespace nestvec::neon
