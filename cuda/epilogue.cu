#include "cuda/epilogue.hpp"

#include <algorithm>
#include <limits>
#include <string>

#include "cpp/base/error.hpp"
#include "cpp/codec/value_errors.hpp"

namespace nestvec::cuda {
namespace {

constexpr std::size_t kMostIndex = std::size_t{1} << 30;   // kernels index a row's values and tokens with 32 bits
constexpr std::size_t kMostBlocks = std::size_t{1} << 20;  // of a grid; with more rows, a block takes several
constexpr unsigned kSliceThreads = 64;

unsigned narrowed(std::size_t count, const char* what) {
  if (count > kMostIndex)
    throw ArgumentError(std::string(what) + " are " + std::to_string(count) + "; a CUDA device takes up to " +
                        std::to_string(kMostIndex));
  return static_cast<unsigned>(count);
}

unsigned quotient_up(std::size_t x, std::size_t by) { return static_cast<unsigned>((x + by - 1) / by); }

bool is_aligned(const void* data, std::size_t bytes) { return reinterpret_cast<std::uintptr_t>(data) % bytes == 0; }

int current_device() {
  int device = 0;
  check(cudaGetDevice(&device), "asking for the current device");
  return device;
}

/// The memory of a call, on a stream that may not be its workspace's. Its destructor waits for the work in any case.
class Call {
 public:
  explicit Call(int device) : Call(device, nullptr, true) {}
  Call(int device, cudaStream_t stream) : Call(device, stream, false) {}
  ~Call() { cudaStreamSynchronize(stream_); }

  cudaStream_t stream() const { return stream_; }
  const Properties& limits() const { return properties(device_); }
  ValueErrors* errors() const { return errors_; }
  float* floats(std::size_t count) { return lease_->memory.take<float>(count, "the rows of an epilogue"); }

  const float* upload(Matrix<const float> x) {
    const std::size_t count = x.rows * x.cols;
    float *staged = lease_->pinned.take<float>(count, "ranges"), *out = lease_->memory.take<float>(count, "ranges");
    std::copy_n(x.data, count, staged);
    copy(out, staged, count, cudaMemcpyHostToDevice);
    return out;
  }

  /// Waits for the work so far, and returns a value from the device.
  template <class T>
  T read(const T* value) {
    T* staged = lease_->pinned.take<T>(1, "an epilogue's errors");
    copy(staged, value, 1, cudaMemcpyDeviceToHost);
    check(cudaStreamSynchronize(stream_), "an epilogue");
    return *staged;
  }

 private:
  Call(int device, cudaStream_t stream, bool by_workspace)
      : device_(device), lease_(device), stream_(by_workspace ? lease_->stream.get() : stream) {
    errors_ = lease_->memory.take<ValueErrors>(1, "an epilogue's errors");
    check(cudaMemsetAsync(errors_, 0, sizeof(ValueErrors), stream_), "an epilogue");
  }

  template <class T>
  void copy(T* to, const T* from, std::size_t count, cudaMemcpyKind kind) {
    if (count > 0) check(cudaMemcpyAsync(to, from, count * sizeof(T), kind, stream_), "an epilogue's copy");
  }

  int device_;
  Lease lease_;
  cudaStream_t stream_;
  ValueErrors* errors_;
};

CodeRows code_rows_at(void* codes, Precision precision, std::size_t dim) {
  const std::size_t bytes = row_bytes(precision, dim);
  return {static_cast<unsigned char*>(codes), bytes, quotient_up(bytes, 4), bytes % 4 == 0 && is_aligned(codes, 4)};
}

/// The task between two steps: a row's codes are its values.
RowTask keep_rows(std::size_t rows, unsigned width, float* out) {
  RowTask task{};
  task.rows = rows;
  task.width = task.dim = width;
  task.coding = {Precision::float32, nullptr, nullptr, code_rows_at(out, Precision::float32, width)};
  return task;
}

template <class Source>
void launch_rows(const char* name, const Source& source, RowTask task, Call& call) {
  constexpr std::size_t fixed = shared_tail_offset<float, CodeRowsShared<Source>>();
  const std::size_t with_row = fixed + task.width * sizeof(float);
  const bool fits = with_row <= call.limits().shared_bytes;
  const std::size_t max_blocks = fits ? kMostBlocks : std::size_t{4} * call.limits().multiprocessors;
  const unsigned grid = static_cast<unsigned>(std::min(task.rows, max_blocks));
  if (!fits) task.scratch = call.floats(std::size_t{grid} * task.width);
  launch(name, code_rows_kernel<Source>, grid, kRowThreads, fits ? with_row : fixed, call.stream(), source, task);
}

/// Calls body with the hidden states' type.
template <class Body>
void with_type(FloatType type, Body body) {
  switch (type) {
    case FloatType::float32:
      return body(Float32{});
    case FloatType::float16:
      return body(Float16{});
    case FloatType::bfloat16:
      return body(Bfloat16{});
  }
}

/// Pools whole texts, a block of threads for each, and codes them.
void launch_pooled_rows(const Pooling& pooling, FloatType type, const RowTask& task, Call& call) {
  with_type(type, [&](auto kind) {
    using Type = decltype(kind);
    if (is_aligned(pooling.hidden, 16) && pooling.dim % Wide<Type>::kWidth == 0)
      launch_rows("pooled_rows", PoolingSource<Wide<Type>>{pooling}, task, call);
    else
      launch_rows("pooled_rows", PoolingSource<Narrow<Type>>{pooling}, task, call);
  });
}

void launch_pooling(const Pooling& pooling, FloatType type, float* out, Call& call) {
  const unsigned slices = quotient_up(pooling.dim, kSliceThreads);
  with_type(type, [&](auto kind) {
    launch("pooling", pooling_kernel<Narrow<decltype(kind)>>, static_cast<unsigned>(pooling.texts * slices),
           kSliceThreads, sizeof(TokenList), call.stream(), pooling, slices, out);
  });
}

void launch_dense(const Dense& dense, const float* x, std::size_t rows, float* y, Call& call) {
  const auto start = [&](const char* name, auto kernel, unsigned texts, unsigned outs) {
    const unsigned tiles = quotient_up(dense.out, std::size_t{outs} * kDenseThreads / kDenseLanes);
    launch(name, kernel, quotient_up(rows, texts) * tiles, kDenseThreads, 0, call.stream(), dense, x, rows, y);
  };
  if (rows < 8)
    start("dense", dense_kernel<1, 1>, 1, 1);
  else
    start("dense", dense_kernel<8, 4>, 8, 4);
}

}  // namespace

CudaEpilogue::CudaEpilogue(const Epilogue& epilogue, int device) : epilogue_(epilogue), device_(device) {
  std::vector<float> floats;
  const auto keep = [&](const std::vector<float>& values) {
    floats.insert(floats.end(), values.begin(), values.end());
    return floats.size() - values.size();
  };
  // First the offsets of the steps' floats; then, with the floats on the device, the steps that point to them.
  struct Offsets {
    std::size_t weight, bias;
  };
  std::vector<Offsets> offsets;
  for (const EpilogueStep& step : epilogue.steps()) {
    if (const auto* dense = std::get_if<DenseStep>(&step))
      offsets.push_back({keep(dense->weight), keep(dense->bias)});
    else if (const auto* norm = std::get_if<LayerNormStep>(&step))
      offsets.push_back({keep(norm->weight), keep(norm->bias)});
    else
      offsets.push_back({});
  }
  weights_ = Buffer(Memory::device, device, floats.size() * sizeof(float), "an epilogue's weights");
  const float* at = weights_.as<float>();

  std::vector<RowStep> steps;
  const auto& modes = std::get<PoolingStep>(epilogue.steps()[0]).modes;
  stages_.push_back({{}, 0, 0, narrowed(modes.size() * epilogue.hidden_dim(), "an epilogue's pooled values")});
  for (std::size_t s = 1; s < offsets.size(); ++s) {
    const float *weight = at + offsets[s].weight, *bias = at + offsets[s].bias;
    if (const auto* dense = std::get_if<DenseStep>(&epilogue.steps()[s])) {
      const Dense on_device{weight, bias, narrowed(dense->in, "a Dense step's inputs"),
                            narrowed(dense->out, "a Dense step's outputs"), dense->activation};
      stages_.push_back({on_device, steps.size(), 0, dense->out});
      continue;
    }
    const auto* norm = std::get_if<LayerNormStep>(&epilogue.steps()[s]);
    steps.push_back(norm ? RowStep{weight, bias, norm->eps} : RowStep{});
    ++stages_.back().step_count;
  }
  steps_ = Buffer(Memory::device, device, steps.size() * sizeof(RowStep), "an epilogue's steps");

  const Lease lease(device);
  lease->copy(weights_.as<float>(), floats.data(), floats.size(), cudaMemcpyHostToDevice, "an epilogue's weights");
  lease->copy(steps_.as<RowStep>(), steps.data(), steps.size(), cudaMemcpyHostToDevice, "an epilogue's steps");
  lease->stream.synchronize("copying an epilogue's weights");
}

Pooling CudaEpilogue::pooling_of(const HiddenStates& hidden, const std::int64_t* mask,
                                 std::size_t prompt_tokens) const {
  const auto& step = std::get<PoolingStep>(epilogue_.steps()[0]);
  Pooling pooling{};
  pooling.hidden = hidden.data;
  pooling.mask = mask;
  pooling.texts = hidden.texts;
  pooling.tokens = narrowed(hidden.tokens, "the tokens of a text");
  pooling.dim = static_cast<unsigned>(hidden.dim);
  pooling.skipped = static_cast<unsigned>(std::min(step.include_prompt ? 0 : prompt_tokens, hidden.tokens));
  for (PoolingMode mode : step.modes) {
    pooling.modes |= static_cast<unsigned>(mode) << 4 * pooling.mode_count++;
    pooling.sum |= mode == PoolingMode::mean || mode == PoolingMode::mean_sqrt_len;
    pooling.weighted_sum |= mode == PoolingMode::weightedmean;
    pooling.largest |= mode == PoolingMode::max;
  }
  return pooling;
}

void CudaEpilogue::run(const HiddenStates& hidden, const std::int64_t* mask, std::size_t prompt_tokens, std::size_t dim,
                       Precision precision, void* codes, float* scales) const {
  epilogue_.check_shapes(hidden, hidden.texts, hidden.tokens, dim);
  if (hidden.texts == 0) return;
  const std::size_t texts = hidden.texts;
  Pooling pooling = pooling_of(hidden, mask, prompt_tokens);
  Call call(device_);
  pooling.errors = call.errors();

  RowTask last{};
  last.rows = texts;
  last.width = static_cast<unsigned>(stages_.back().width);
  last.dim = static_cast<unsigned>(dim);
  last.unit_length = dim < last.width && std::holds_alternative<NormalizeStep>(epilogue_.steps().back());
  last.coding = {precision, nullptr, scales, code_rows_at(codes, precision, dim)};
  last.errors = call.errors();
  last.limit = traits(encoding_of(precision)).plain.limit;

  // With a text for every multiprocessor, a block of threads pools and codes one. Fewer texts are cut into slices.
  const bool whole_texts = texts >= call.limits().multiprocessors;
  const float* x = nullptr;
  for (const Stage& stage : stages_) {
    const bool is_first = &stage == &stages_.front(), is_last = &stage == &stages_.back();
    const unsigned width = static_cast<unsigned>(stage.width);
    float* rows = call.floats(texts * width);
    RowTask task = is_last ? last : keep_rows(texts, width, rows);
    task.steps = steps_.as<RowStep>() + stage.first_step;
    task.step_count = static_cast<unsigned>(stage.step_count);
    if (is_first && whole_texts) {
      launch_pooled_rows(pooling, hidden.type, task, call);
    } else {
      if (is_first)
        launch_pooling(pooling, hidden.type, rows, call);
      else
        launch_dense(stage.dense, x, texts, rows, call);
      if (is_last || stage.step_count > 0) launch_rows("code_rows", MatrixSource{rows, nullptr, 0}, task, call);
    }
    x = rows;
  }

  const ValueErrors errors = call.read(call.errors());
  if (errors.first_mask != 0) {
    const std::size_t index = ~errors.first_mask;
    throw_mask_value(call.read(mask + index), index, hidden.tokens);
  }
  if (errors.rows != 0) throw_bad_texts(errors.rows, texts, ~errors.first_value / dim, encoding_of(precision));
}

std::unique_ptr<DeviceEpilogue> epilogue(const Epilogue& epilogue, int device) {
  return std::make_unique<CudaEpilogue>(epilogue, device);
}

void quantize_ranges(Matrix<const float> rows, Matrix<const float> ranges, Precision precision, std::uint8_t* codes,
                     cudaStream_t stream) {
  check_ranges(ranges, rows.cols);
  if (rows.rows == 0) return;
  Call call(current_device(), stream);
  RowTask task{};
  task.rows = rows.rows;
  task.width = task.dim = narrowed(rows.cols, "the columns of x");
  task.coding = {precision, call.upload(ranges), nullptr, code_rows_at(codes, precision, rows.cols)};
  launch_rows("code_rows", MatrixSource{rows.data, call.errors(), traits(encoding_of(precision)).plain.limit}, task,
              call);
  const ValueErrors errors = call.read(call.errors());
  if (errors.values != 0)
    throw_not_finite(errors.values, ~errors.first_value, rows.rows, rows.cols, "x", encoding_of(precision));
}

}  // namespace nestvec::cuda
