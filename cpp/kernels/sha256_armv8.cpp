// ARMv8 SHA-2 instructions: four rounds each, state as the halves ABCD and EFGH. w[] is a ring of the last 16
// schedule words.
#include <arm_neon.h>

#include "sha256.h"

namespace safetyclf::kernels {

void sha256_compress_armv8(uint32_t state[8], const uint8_t* data, size_t blocks) noexcept {
    uint32x4_t abcd = vld1q_u32(state);
    uint32x4_t efgh = vld1q_u32(state + 4);
    for (; blocks > 0; --blocks, data += 64) {
        const uint32x4_t abcd_before = abcd;
        const uint32x4_t efgh_before = efgh;
        uint32x4_t w[4];
        for (int i = 0; i < 4; ++i) {
            w[i] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(data + 16 * i)));
        }
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) {
            const uint32x4_t sum = vaddq_u32(w[i & 3], vld1q_u32(kSha256Rounds + 4 * i));
            const uint32x4_t abcd_round = abcd;
            abcd = vsha256hq_u32(abcd, efgh, sum);
            efgh = vsha256h2q_u32(efgh, abcd_round, sum);
            if (i < 12) {
                w[i & 3] = vsha256su1q_u32(vsha256su0q_u32(w[i & 3], w[(i + 1) & 3]), w[(i + 2) & 3],
                                           w[(i + 3) & 3]);
            }
        }
        abcd = vaddq_u32(abcd, abcd_before);
        efgh = vaddq_u32(efgh, efgh_before);
    }
    vst1q_u32(state, abcd);
    vst1q_u32(state + 4, efgh);
}

}  // namespace safetyclf::kernels
