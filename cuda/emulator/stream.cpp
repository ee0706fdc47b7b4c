#include "cuda/emulator/stream.hpp"

#include <algorithm>
#include <chrono>
#include <thread>

namespace nestvec::emulator {

constinit thread_local int current_device = 0;
constinit thread_local cudaError_t last_error = cudaSuccess;

Runtime& runtime() {
  static Runtime& state = *new Runtime;
  return state;
}

Device& Runtime::device(int number) {
  const auto n = static_cast<std::size_t>(number);
  if (devices.size() <= n) devices.resize(n + 1);
  if (!devices[n].default_stream) {
    devices[n].default_stream = std::make_shared<Stream>();
    devices[n].default_stream->device = number;
  }
  return devices[n];
}

namespace {

std::shared_ptr<Stream> stream_of_this_thread(Runtime& state) {
  thread_local std::map<int, std::shared_ptr<Stream>> streams;
  std::shared_ptr<Stream>& stream = streams[current_device];
  if (!stream) {
    stream = std::make_shared<Stream>();
    stream->device = current_device;
    stream->blocking = true;
    state.streams[reinterpret_cast<cudaStream_t>(++state.handles * 256)] = stream;
  }
  return stream;
}

}  // namespace

std::shared_ptr<Stream> Runtime::find(cudaStream_t handle) {
  if (handle == nullptr || handle == cudaStreamLegacy) return device(current_device).default_stream;
  if (handle == cudaStreamPerThread) return stream_of_this_thread(*this);
  const auto found = streams.find(handle);
  return found == streams.end() ? nullptr : found->second;
}

void Runtime::add(const std::shared_ptr<Stream>& stream, std::function<void(Stream&)> run, bool always) {
  const std::shared_ptr<Stream>& legacy = device(stream->device).default_stream;
  std::vector<Point> after = std::move(stream->wait_for);
  stream->wait_for.clear();
  if (stream == legacy) {
    for (const auto& other : busy)
      if (other->blocking && other->device == stream->device) after.push_back({other, other->queued});
  } else if (stream->blocking) {
    after.push_back({legacy, legacy->queued});
  }
  tsan_release(stream->engine.order());
  stream->operations.push_back({++stream->queued, std::move(after), std::move(run), always});
  if (std::find(busy.begin(), busy.end(), stream) == busy.end()) busy.push_back(stream);
}

void Runtime::run_until(Stream& stream, std::uint64_t ticket) {
  if (running_++ == 0) show_device_memory(true);
  while (stream.done < ticket && !stream.operations.empty()) {
    const Operation operation = std::move(stream.operations.front());
    stream.operations.pop_front();
    for (const Point& point : operation.after) {
      run_until(*point.stream, point.ticket);
      stream.engine.wait_for(point.stream->engine);
    }
    if (operation.always || !device(stream.device).failed) operation.run(stream);
    tsan_acquire(stream.engine.order());
    stream.done = operation.ticket;
  }
  tsan_acquire(stream.engine.order());
  if (--running_ == 0) show_device_memory(false);
}

void Runtime::run_all(int number) {
  const std::vector<std::shared_ptr<Stream>> all = busy;
  for (const auto& stream : all)
    if (stream->device == number) run_until(*stream, stream->queued);
  std::erase_if(busy, [](const auto& stream) { return stream->operations.empty(); });
}

cudaError_t enqueue(Launch launch, const void* kernel, cudaStream_t handle) {
  return call([&](Runtime& state) {
    const std::shared_ptr<Stream> stream = state.find(handle);
    if (!stream || stream->device != current_device) return cudaErrorInvalidResourceHandle;
    const dim3 grid = launch.grid, block = launch.block;
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7FFFFFFFu || grid.y > 65535 || grid.z > 65535)
      return cudaErrorInvalidConfiguration;
    if (block.x == 0 || block.y == 0 || block.z == 0 || block.x > 1024 || block.y > 1024 || block.z > 64 ||
        block.x * block.y * block.z > 1024)
      return cudaErrorInvalidConfiguration;
    const auto& opt_ins = state.device(current_device).max_shared_bytes;
    const auto opt_in = opt_ins.find(kernel);
    const std::size_t max_bytes = std::max(48 << 10, opt_in == opt_ins.end() ? 0 : opt_in->second);
    if (launch.shared_bytes > max_bytes) return cudaErrorInvalidValue;
    unsigned workers = state.settings.workers;
    if (workers == 0) workers = std::clamp(std::thread::hardware_concurrency(), 1u, 4u);
    state.add(stream, [&state, launch = std::move(launch), workers](Stream& on) {
      ++state.counters.launches;
      try {
        state.check_pointers(launch, on.device);
        run_grid(launch, workers, on.engine);
      } catch (const KernelFailure& failure) {
        state.last_failure = failure.what();
        state.device(on.device).failed = true;
      }
    });
    return cudaSuccess;
  });
}

}  // namespace nestvec::emulator

using nestvec::emulator::call;
using nestvec::emulator::current_device;
using nestvec::emulator::Event;
using nestvec::emulator::Runtime;
using nestvec::emulator::Stream;

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return call([&](Runtime& state) {
    if (!stream || flags > cudaStreamNonBlocking) return cudaErrorInvalidValue;
    auto created = std::make_shared<Stream>();
    created->device = current_device;
    created->blocking = flags != cudaStreamNonBlocking;
    *stream = reinterpret_cast<cudaStream_t>(++state.handles * 256);  // never reused: a stale handle is detected
    state.streams[*stream] = std::move(created);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return call(
      [&](Runtime& state) { return state.streams.erase(stream) == 1 ? cudaSuccess : cudaErrorInvalidResourceHandle; },
      true);
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  return call([&](Runtime& state) {
    const std::shared_ptr<Stream> stream = state.find(handle);
    if (!stream) return cudaErrorInvalidResourceHandle;
    state.run_until(*stream, stream->queued);
    return state.device(stream->device).failed ? cudaErrorLaunchFailure : cudaSuccess;
  });
}

cudaError_t cudaStreamQuery(cudaStream_t handle) {
  return call([&](Runtime& state) {
    const std::shared_ptr<Stream> stream = state.find(handle);
    if (!stream) return cudaErrorInvalidResourceHandle;
    if (stream->done == stream->queued) return cudaSuccess;
    state.run_until(*stream, stream->queued);  // the next query will find it done
    return cudaErrorNotReady;
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  return call([&](Runtime& state) {
    const std::shared_ptr<Stream> stream = state.find(handle);
    const auto found = state.events.find(event);
    if (!stream || found == state.events.end()) return cudaErrorInvalidResourceHandle;
    if (found->second.recorded) {
      stream->wait_for.push_back(found->second.point);
      state.add(stream, [](Stream&) {});  // so that synchronising with the stream waits for the event
    }
    return cudaSuccess;
  });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  return call([&](Runtime& state) {
    if (!event) return cudaErrorInvalidValue;
    *event = reinterpret_cast<cudaEvent_t>(++state.handles * 256);
    Event created;
    created.timed = (flags & cudaEventDisableTiming) == 0;
    state.events[*event] = std::move(created);
    return cudaSuccess;
  });
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return call(
      [&](Runtime& state) { return state.events.erase(event) == 1 ? cudaSuccess : cudaErrorInvalidResourceHandle; },
      true);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
  return call([&](Runtime& state) {
    const std::shared_ptr<Stream> stream = state.find(handle);
    const auto found = state.events.find(event);
    if (!stream || found == state.events.end()) return cudaErrorInvalidResourceHandle;
    auto reached = std::make_shared<double>(0.0);
    state.add(stream, [reached](Stream&) {
      using namespace std::chrono;
      *reached = duration<double, std::milli>(steady_clock::now().time_since_epoch()).count();
    });
    found->second.recorded = true;
    found->second.point = {stream, stream->queued};
    found->second.milliseconds = std::move(reached);
    return cudaSuccess;
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return call([&](Runtime& state) {
    const auto found = state.events.find(event);
    if (found == state.events.end()) return cudaErrorInvalidResourceHandle;
    if (!found->second.recorded) return cudaSuccess;
    const auto [stream, ticket] = found->second.point;
    state.run_until(*stream, ticket);
    return state.device(stream->device).failed ? cudaErrorLaunchFailure : cudaSuccess;
  });
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  return call([&](Runtime& state) {
    const auto found = state.events.find(event);
    if (found == state.events.end()) return cudaErrorInvalidResourceHandle;
    const auto [stream, ticket] = found->second.point;
    if (!found->second.recorded || stream->done >= ticket) return cudaSuccess;
    state.run_until(*stream, ticket);  // the next query will find it done
    return cudaErrorNotReady;
  });
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  return call([&](Runtime& state) {
    const auto first = state.events.find(from), last = state.events.find(to);
    if (!milliseconds || first == state.events.end() || last == state.events.end())
      return cudaErrorInvalidResourceHandle;
    for (const Event* event : {&first->second, &last->second}) {
      if (!event->timed || !event->recorded) return cudaErrorInvalidResourceHandle;
      if (event->point.stream->done < event->point.ticket) return cudaErrorNotReady;
    }
    *milliseconds = static_cast<float>(*last->second.milliseconds - *first->second.milliseconds);
    return cudaSuccess;
  });
}
