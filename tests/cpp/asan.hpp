// Whether AddressSanitizer is at work: SAFETYCLF_ASAN, and its interface.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define SAFETYCLF_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SAFETYCLF_ASAN 1
#endif
#endif
#ifdef SAFETYCLF_ASAN
#include <sanitizer/asan_interface.h>
#endif
