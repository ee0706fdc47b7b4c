#include "cpp/base/interrupt.hpp"

namespace nestvec {
namespace {

constinit thread_local Interrupt* of_thread = nullptr;

}  // namespace

Interrupt::Interrupt() : before_(of_thread) { of_thread = this; }

Interrupt::~Interrupt() { of_thread = before_; }

void check_interrupt() {
  if (of_thread) of_thread->check();
}

}  // namespace nestvec
