#include "model/sha256.hpp"

#include <bit>
#include <cstring>
#include <vector>

#include "cpu_features.h"

namespace safetyclf::model {
namespace {

using State = std::array<std::uint32_t, 8>;
constexpr State kInitial = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                            0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
constexpr std::size_t kBlock = 64;

std::uint32_t load_big_endian(const std::uint8_t* p) {
    return std::uint32_t{p[0]} << 24 | std::uint32_t{p[1]} << 16 | std::uint32_t{p[2]} << 8 | p[3];
}

void compress_portable(std::uint32_t state[8], const std::uint8_t* data, std::size_t blocks) {
    using std::rotr;
    for (; blocks > 0; --blocks, data += kBlock) {
        std::uint32_t w[64];
        for (std::size_t i = 0; i < 16; ++i) w[i] = load_big_endian(data + 4 * i);
        for (std::size_t i = 16; i < 64; ++i) {
            const std::uint32_t s0 = rotr(w[i - 15], 7) ^ rotr(w[i - 15], 18) ^ w[i - 15] >> 3;
            const std::uint32_t s1 = rotr(w[i - 2], 17) ^ rotr(w[i - 2], 19) ^ w[i - 2] >> 10;
            w[i] = w[i - 16] + s0 + w[i - 7] + s1;
        }
        std::uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
        std::uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
        for (std::size_t i = 0; i < 64; ++i) {
            const std::uint32_t sum1 = rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25);
            const std::uint32_t choose = g ^ (e & (f ^ g));
            const std::uint32_t t1 = h + sum1 + choose + kernels::kSha256Rounds[i] + w[i];
            const std::uint32_t sum0 = rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22);
            const std::uint32_t majority = (a & b) | (c & (a | b));
            h = g;
            g = f;
            f = e;
            e = d + t1;
            d = c;
            c = b;
            b = a;
            a = t1 + sum0 + majority;
        }
        state[0] += a;
        state[1] += b;
        state[2] += c;
        state[3] += d;
        state[4] += e;
        state[5] += f;
        state[6] += g;
        state[7] += h;
    }
}

std::vector<Sha256Implementation> detect() {
    std::vector<Sha256Implementation> found;
#if defined(__x86_64__)
    if (kernels::cpu_features().sha) found.push_back({"shani", kernels::sha256_compress_shani});
#elif defined(__aarch64__)
    if (kernels::cpu_features().sha) found.push_back({"armv8", kernels::sha256_compress_armv8});
#endif
    found.push_back({"portable", compress_portable});
    return found;
}

}  // namespace

std::span<const Sha256Implementation> sha256_implementations() {
    static const std::vector<Sha256Implementation> implementations = detect();
    return implementations;
}

std::string sha256(std::span<const std::byte> bytes, const Sha256Implementation& with) {
    const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
    const std::size_t whole = bytes.size() / kBlock;
    const std::size_t rest = bytes.size() % kBlock;
    State state = kInitial;
    if (whole > 0) with.compress(state.data(), data, whole);

    // The end: the rest, a one bit, zeros, and the length in bits as 64-bit big-endian; one block or two.
    std::array<std::uint8_t, 2 * kBlock> tail{};
    if (rest > 0) std::memcpy(tail.data(), data + whole * kBlock, rest);
    tail[rest] = 0x80;
    const std::size_t tail_blocks = rest + 1 + 8 <= kBlock ? 1 : 2;
    const std::uint64_t bits = std::uint64_t{bytes.size()} * 8;
    for (std::size_t i = 0; i < 8; ++i) {
        tail[tail_blocks * kBlock - 1 - i] = static_cast<std::uint8_t>(bits >> 8 * i);
    }
    with.compress(state.data(), tail.data(), tail_blocks);

    constexpr char kDigits[] = "0123456789abcdef";
    std::string hex;
    hex.reserve(64);
    for (const std::uint32_t word : state) {
        for (int shift = 28; shift >= 0; shift -= 4) hex.push_back(kDigits[word >> shift & 15]);
    }
    return hex;
}

std::string sha256(std::string_view bytes) {
    return sha256(std::as_bytes(std::span<const char>(bytes.data(), bytes.size())));
}

}  // namespace safetyclf::model
