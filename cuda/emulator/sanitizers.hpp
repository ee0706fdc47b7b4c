// The sanitizer that a file is compiled with: NESTVEC_EMULATOR_ASAN is detected here, NESTVEC_EMULATOR_TSAN is defined
// by the build.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define NESTVEC_EMULATOR_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NESTVEC_EMULATOR_ASAN 1
#endif
#endif

#ifdef NESTVEC_EMULATOR_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) (static_cast<void>(at), static_cast<void>(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) (static_cast<void>(at), static_cast<void>(bytes))
#endif

#ifdef NESTVEC_EMULATOR_TSAN
#include <sanitizer/tsan_interface.h>
#endif
