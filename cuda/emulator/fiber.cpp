// Compiled without the thread sanitizer's instrumentation (CMakeLists.txt): a function that is entered on one fiber and
// left on another would corrupt the sanitizer's call stacks. Builds that link the sanitizer define
// NESTVEC_EMULATOR_TSAN.
#include "cuda/emulator/fiber.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <new>

#include "cuda/emulator/sanitizers.hpp"

extern "C" void nestvec_switch_stacks(void** save, void* load) asm("nestvec_switch_stacks");

// Pushes the callee-saved registers, switches the stack pointer, and pops them.
#if defined(__x86_64__)
asm(R"(
  .text
  .p2align 4
nestvec_switch_stacks:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
#elif defined(__aarch64__)
asm(R"(
  .text
  .p2align 4
nestvec_switch_stacks:
  stp x29, x30, [sp, #-160]!
  stp x19, x20, [sp, #16]
  stp x21, x22, [sp, #32]
  stp x23, x24, [sp, #48]
  stp x25, x26, [sp, #64]
  stp x27, x28, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #16]
  ldp x21, x22, [sp, #32]
  ldp x23, x24, [sp, #48]
  ldp x25, x26, [sp, #64]
  ldp x27, x28, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  ldp x29, x30, [sp], #160
  ret
)");
#else
#error "the emulated device switches stacks on x86-64 and aarch64 only"
#endif

namespace nestvec::emulator {
namespace {

#if defined(NESTVEC_EMULATOR_ASAN) || defined(NESTVEC_EMULATOR_TSAN)
constexpr std::size_t kStackBytes = 256 << 10;  // room for redzones and for frames of the sanitizer's library
#else
constexpr std::size_t kStackBytes = 64 << 10;
#endif

#ifdef NESTVEC_EMULATOR_ASAN
thread_local Fiber* left;  // after a switch the sanitizer reports its stack: the only source for the OS thread's
#endif

}  // namespace

Stacks::Stacks(std::size_t count)
    : page_(static_cast<std::size_t>(sysconf(_SC_PAGESIZE))), stride_(kStackBytes + page_), bytes_(count * stride_) {
  void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  memory_ = static_cast<char*>(memory);
  for (std::size_t stack = 0; stack < count; ++stack) mprotect(memory_ + stack * stride_, page_, PROT_NONE);
}

Stacks::~Stacks() { munmap(memory_, bytes_); }

void Stacks::give(Fiber& fiber, std::size_t number) const {
  fiber.stack = memory_ + number * stride_ + page_;
  // Stacks start at 16 offsets within a page: at equal offsets, all tops would share the same few cache sets.
  fiber.stack_bytes = kStackBytes - number % 16 * 256;
}

void start_at(Fiber& fiber, void (*entry)()) {
  auto* top = reinterpret_cast<void**>(fiber.stack + fiber.stack_bytes);
#if defined(__x86_64__)
  top[-1] = nullptr;  // entry's return address: where backtraces end
  top[-2] = reinterpret_cast<void*>(entry);
  top -= 8;
  for (int saved = 0; saved < 6; ++saved) top[saved] = nullptr;
#else
  top -= 20;
  for (int saved = 0; saved < 20; ++saved) top[saved] = nullptr;
  top[1] = reinterpret_cast<void*>(entry);
#endif
  fiber.stack_pointer = top;
  fiber.fake_stack = nullptr;
}

void arrived_on([[maybe_unused]] Fiber& fiber) {
#ifdef NESTVEC_EMULATOR_ASAN
  const void* stack = nullptr;
  __sanitizer_finish_switch_fiber(fiber.fake_stack, &stack, &left->stack_bytes);
  left->stack = static_cast<char*>(const_cast<void*>(stack));
#endif
}

void switch_fibers(Fiber& from, Fiber& to) {
#ifdef NESTVEC_EMULATOR_ASAN
  left = &from;
  __sanitizer_start_switch_fiber(&from.fake_stack, to.stack, to.stack_bytes);
#endif
  tsan_enter(to);
  nestvec_switch_stacks(&from.stack_pointer, to.stack_pointer);
  arrived_on(from);
}

void leave_fiber(Fiber& from, Fiber& to) {
#ifdef NESTVEC_EMULATOR_ASAN
  left = &from;
  __sanitizer_start_switch_fiber(nullptr, to.stack, to.stack_bytes);
#endif
  tsan_enter(to);
  nestvec_switch_stacks(&from.stack_pointer, to.stack_pointer);
  __builtin_unreachable();
}

#ifdef NESTVEC_EMULATOR_TSAN
constexpr unsigned kOrderNothing = 1;
void tsan_create(Fiber& fiber) { fiber.tsan_thread = __tsan_create_fiber(0); }
void tsan_destroy(Fiber& fiber) { __tsan_destroy_fiber(fiber.tsan_thread); }
void tsan_enter(Fiber& fiber) { __tsan_switch_to_fiber(fiber.tsan_thread, kOrderNothing); }
void tsan_adopt(Fiber& fiber) { fiber.tsan_thread = __tsan_get_current_fiber(); }
void tsan_release(void* object) { __tsan_release(object); }
void tsan_acquire(void* object) { __tsan_acquire(object); }
#else
void tsan_create(Fiber&) {}
void tsan_destroy(Fiber&) {}
void tsan_enter(Fiber&) {}
void tsan_adopt(Fiber&) {}
void tsan_release(void*) {}
void tsan_acquire(void*) {}
#endif

template <class Work>
void Engine::run(Work work) {
  Fiber self;
  tsan_adopt(self);
  tsan_enter(fiber_);
  tsan_acquire(&order_);
  work();
  tsan_release(&order_);
  tsan_enter(self);
}

void Engine::copy(void* to, const void* from, std::size_t bytes) {
  run([=] { std::memcpy(to, from, bytes); });
}

void Engine::fill(void* at, int value, std::size_t bytes) {
  run([=] { std::memset(at, value, bytes); });
}

void Engine::begin_grid() {
  run([this] { tsan_release(&before_); });
}

void Engine::end_grid() {
  run([this] { tsan_acquire(&after_); });
}

void Engine::wait_for(Engine& other) {
  run([&] { tsan_acquire(&other.order_); });
}

}  // namespace nestvec::emulator
