// x86 SHA extensions (with SSSE3 and SSE4.1). sha256rnds2 does two rounds and wants the state as the halves
// ABEF and CDGH; four rounds are two of them, with the halves changing roles. w[] is a ring of the last 16
// schedule words, four to a register.
#include <immintrin.h>

#include "sha256.h"

namespace safetyclf::kernels {

void sha256_compress_shani(uint32_t state[8], const uint8_t* data, size_t blocks) noexcept {
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    const __m128i* const rounds = reinterpret_cast<const __m128i*>(kSha256Rounds);
    __m128i* const out = reinterpret_cast<__m128i*>(state);

    // Registers are written high lane first: state holds DCBA and HGFE.
    const __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128(out), 0xb1);
    const __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128(out + 1), 0x1b);
    __m128i abef = _mm_alignr_epi8(cdab, efgh, 8);
    __m128i cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);

    for (; blocks > 0; --blocks, data += 64) {
        const __m128i abef_before = abef;
        const __m128i cdgh_before = cdgh;
        __m128i w[4];
        for (int i = 0; i < 4; ++i) {
            w[i] = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(data) + i), big_endian);
        }
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) {
            const __m128i sum = _mm_add_epi32(w[i & 3], _mm_load_si128(rounds + i));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));
            if (i < 12) {
                const __m128i last = w[(i + 3) & 3];
                const __m128i partial = _mm_add_epi32(_mm_sha256msg1_epu32(w[i & 3], w[(i + 1) & 3]),
                                                      _mm_alignr_epi8(last, w[(i + 2) & 3], 4));
                w[i & 3] = _mm_sha256msg2_epu32(partial, last);
            }
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }

    const __m128i feba = _mm_shuffle_epi32(abef, 0x1b);
    const __m128i dchg = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128(out, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128(out + 1, _mm_alignr_epi8(dchg, feba, 8));
}

}  // namespace safetyclf::kernels
