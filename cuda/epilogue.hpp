// The epilogue on a CUDA device: it reads hidden states once, writes code rows once, and between the steps keeps only
// small rows of floats. The results are those of cpp/epilogue/epilogue.cpp and cpp/codec/quantize.cpp.
#pragma once
#include <memory>

#include "cpp/device/backend.hpp"
#include "cpp/epilogue/epilogue.hpp"
#include "cuda/device.hpp"
#include "cuda/kernels/epilogue.cuh"

namespace nestvec::cuda {

class CudaEpilogue : public DeviceEpilogue {
 public:
  CudaEpilogue(const Epilogue& epilogue, int device);

  void run(const HiddenStates& hidden, const std::int64_t* mask, std::size_t prompt_tokens, std::size_t dim,
           Precision precision, void* codes, float* scales) const override;

 private:
  /// A Dense step, or the pooling, and the in-place steps that follow it.
  struct Stage {
    Dense dense;
    std::size_t first_step, step_count, width;
  };

  Pooling pooling_of(const HiddenStates& hidden, const std::int64_t* mask, std::size_t prompt_tokens) const;

  Epilogue epilogue_;
  int device_;
  std::vector<Stage> stages_;
  Buffer weights_, steps_;
};

std::unique_ptr<DeviceEpilogue> epilogue(const Epilogue& epilogue, int device);

/// quantize_ranges on rows in the current device's memory, whose values are checked as check_finite does, by the name
/// "x". ranges: in host memory. Returns when the codes are written; the stream's earlier work comes first.
void quantize_ranges(Matrix<const float> rows, Matrix<const float> ranges, Precision precision, std::uint8_t* codes,
                     cudaStream_t stream);

}  // namespace nestvec::cuda
