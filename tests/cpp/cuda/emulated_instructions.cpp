// What instructions do, given what all lanes of a warp bring. Layouts are those of the PTX ISA.
#include "emulated_block.hpp"

namespace safetyclf::emulation {
namespace {

constexpr uint32_t kWindow = 1024;  // where dynamic shared memory begins, as the driver keeps the first KiB

// c[m][n] += a[m][k] b[n][k]
template <size_t m, size_t n, size_t k>
void multiply(const int16_t (&a)[m][k], const int16_t (&b)[n][k], int32_t (&c)[m][n]) {
    for (size_t i = 0; i < m; ++i)
        for (size_t j = 0; j < n; ++j) {
            int32_t sum = 0;
            for (size_t l = 0; l < k; ++l) sum += a[i][l] * b[j][l];
            c[i][j] += sum;
        }
}

// The four bytes of a register.
void unpack(uint32_t word, bool is_signed, int16_t* to) {
    for (uint32_t i = 0; i < 4; ++i) {
        const uint8_t byte = static_cast<uint8_t>(word >> 8 * i);
        to[i] = is_signed ? static_cast<int8_t>(byte) : byte;
    }
}

struct Mma {
    int32_t* c;
    const uint32_t* a;
    const uint32_t* b;
};

// m16n8k32 for pairs = 2, m8n8k16 for pairs = 1: register 2 j + i of a holds rows 8 i and on, bytes 16 j and
// on.
template <bool is_signed, uint32_t pairs>
void mma(void* const (&lanes)[32]) {
    int16_t a[8 * pairs][16 * pairs], b[8][16 * pairs];
    int32_t c[8 * pairs][8] = {};
    for (uint32_t l = 0; l < 32; ++l) {
        const Mma& m = *static_cast<const Mma*>(lanes[l]);
        for (uint32_t j = 0; j < pairs; ++j) {
            for (uint32_t i = 0; i < pairs; ++i)
                unpack(m.a[pairs * j + i], is_signed, &a[8 * i + l / 4][16 * j + l % 4 * 4]);
            unpack(m.b[j], true, &b[l / 4][16 * j + l % 4 * 4]);
        }
    }
    multiply(a, b, c);
    for (uint32_t l = 0; l < 32; ++l)
        for (uint32_t i = 0; i < 2 * pairs; ++i)
            static_cast<const Mma*>(lanes[l])->c[i] += c[i / 2 * 8 + l / 4][l % 4 * 2 + i % 2];
}

struct Matrices {
    const void* row;
    uint32_t* r;
};

void load_matrices(void* const (&lanes)[32]) {
    for (uint32_t i = 0; i < 4; ++i)
        for (uint32_t l = 0; l < 32; ++l) {
            const auto* const row = static_cast<const Matrices*>(lanes[8 * i + l / 4])->row;
            memcpy(&static_cast<Matrices*>(lanes[l])->r[i], static_cast<const uint8_t*>(row) + l % 4 * 4, 4);
        }
}

// Half of one of the rows of 32 bytes that a descriptor describes: K-major, 128-byte swizzle.
const uint8_t* operand_chunk(uint64_t descriptor, uint32_t row, uint32_t chunk) {
    const auto field = [&](int at) { return static_cast<uint32_t>(descriptor >> at & 0x3FFF) << 4; };
    const uint32_t start = field(0), stride = field(32);
    uint32_t address = start + row / 8 * stride + row % 8 * 128 + chunk * 16;
    address ^= (address >> 7 & 7) << 4;
    if (address < kWindow || address + 16 > kWindow + block.shared_bytes())
        block.fail("wgmma reads outside dynamic shared memory");
    return block.shared() + address - kWindow;
}

void read_operands(const Product& p, uint32_t first_row, uint8_t* to) {
    for (uint32_t row = 0; row < kProductRows + kProductColumns; ++row)
        for (uint32_t chunk = 0; chunk < 2; ++chunk, to += 16)
            memcpy(to,
                   row < kProductRows ? operand_chunk(p.a, first_row + row, chunk)
                                      : operand_chunk(p.b, row - kProductRows, chunk),
                   16);
}

uint32_t product_row() {
    return block.warp_number() % 4 * kProductRows;
}

struct Issue {
    int32_t* c;
    uint64_t a, b;
};

void issue(void* const (&lanes)[32]) {
    Product p{};
    for (uint32_t l = 0; l < 32; ++l) {
        const Issue& i = *static_cast<const Issue*>(lanes[l]);
        if (l == 0) {
            p.a = i.a;
            p.b = i.b;
        }
        if (i.a != p.a || i.b != p.b) block.fail("lanes give wgmma different descriptors");
        p.c[l] = i.c;
    }
    read_operands(p, product_row(), p.operands.data());
    block.warp().products.push_back(p);
}

void commit_products(void* const (&)[32]) {
    for (Product& p : block.warp().products) p.committed = true;
}

void finish_products(void* const (&)[32]) {
    std::vector<Product>& products = block.warp().products;
    for (const Product& p : products) {
        if (!p.committed) block.fail("wgmma was never committed");
        decltype(p.operands) now;
        read_operands(p, product_row(), now.data());
        if (now != p.operands) block.fail("shared memory changed while wgmma read it");
        int16_t a[kProductRows][32], b[kProductColumns][32];
        int32_t c[kProductRows][kProductColumns] = {};
        for (uint32_t i = 0; i < kProductRows * 32; ++i)
            a[i / 32][i % 32] = static_cast<int8_t>(p.operands[i]);
        for (uint32_t i = 0; i < kProductColumns * 32; ++i)
            b[i / 32][i % 32] = static_cast<int8_t>(p.operands[kProductRows * 32 + i]);
        multiply(a, b, c);
        for (uint32_t l = 0; l < 32; ++l)
            for (uint32_t i = 0; i < 64; ++i)  // four values in each eight columns
                p.c[l][i] += c[i % 4 / 2 * 8 + l / 4][i / 4 * 8 + l % 4 * 2 + i % 2];
    }
    products.clear();
}

}  // namespace

void block_barrier(Site site) {
    block.barrier(site);
}
void collective(uint32_t mask, Compute compute, void* argument, Site site) {
    block.collective(mask, compute, argument, site);
}

void nothing(void* const (&)[32]) {}

void shuffle(void* const (&lanes)[32]) {
    for (void* const lane : lanes) {
        if (lane == nullptr) continue;
        Shuffle& s = *static_cast<Shuffle*>(lane);
        if (lanes[s.from % 32] == nullptr) block.fail("shuffle from a lane that is not in the mask");
        s.result = static_cast<const Shuffle*>(lanes[s.from % 32])->value;
    }
}

void ballot(void* const (&lanes)[32]) {
    uint32_t bits = 0;
    for (uint32_t l = 0; l < 32; ++l)
        if (lanes[l] != nullptr) bits |= static_cast<const Ballot*>(lanes[l])->predicate << l;
    for (void* const lane : lanes)
        if (lane != nullptr) static_cast<Ballot*>(lane)->result = bits;
}

void* dynamic_shared() {
    return block.shared();
}

uint32_t shared_address(const void* p) {
    const ptrdiff_t at = static_cast<const uint8_t*>(p) - block.shared();
    if (at < 0 || static_cast<size_t>(at) >= block.shared_bytes()) block.fail("not in dynamic shared memory");
    return kWindow + static_cast<uint32_t>(at);
}

void load_matrix_x4(uint32_t (&r)[4], const void* row, Site site) {
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0) block.fail("ldmatrix of a row that is not aligned");
    Matrices m{row, r};
    block.collective(~0u, load_matrices, &m, site);
}

void mma_m16n8k32(bool is_signed, int32_t* c, const uint32_t* a, const uint32_t* b, Site site) {
    Mma m{c, a, b};
    block.collective(~0u, is_signed ? mma<true, 2> : mma<false, 2>, &m, site);
}

void mma_m8n8k16(bool is_signed, int32_t* c, uint32_t a, uint32_t b, Site site) {
    Mma m{c, &a, &b};
    block.collective(~0u, is_signed ? mma<true, 1> : mma<false, 1>, &m, site);
}

void copy_async(void* shared, const void* global, bool valid, uint32_t bytes) {
    const auto aligned = [&](const void* p) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; };
    if (!aligned(shared) || (valid && !aligned(global)))
        block.fail("cp.async of an address that is not aligned");
    Copy copy{shared, {}, bytes, false};
    if (valid) memcpy(copy.data, global, bytes);
    memset(shared, kGarbage, bytes);
    block.thread().copies.push_back(copy);
}

void copies_commit() {
    Thread& f = block.thread();
    uint32_t count = 0;
    for (Copy& copy : f.copies) {
        count += !copy.committed;
        copy.committed = true;
    }
    f.groups.push_back(count);
}

void copies_wait(uint32_t left) {
    Thread& f = block.thread();
    size_t landed = 0;
    while (f.groups.size() > left) {
        for (uint32_t i = 0; i < f.groups.front(); ++i, ++landed)
            memcpy(f.copies[landed].to, f.copies[landed].data, f.copies[landed].bytes);
        f.groups.erase(f.groups.begin());
    }
    f.copies.erase(f.copies.begin(), f.copies.begin() + static_cast<ptrdiff_t>(landed));
    f.proxy_fenced = f.proxy_fenced && landed == 0;
}

void fence_async_proxy() {
    block.thread().proxy_fenced = true;
}
void wgmma_fence() {
    block.thread().wgmma_fenced = true;
}

void wgmma_m64n128k32(int32_t (&c)[64], uint64_t a, uint64_t b, Site site) {
    for (const uint64_t descriptor : {a, b})
        if (descriptor >> 62 != 1 || (descriptor >> 49 & 7) != 0)
            block.fail("wgmma is emulated for 128-byte swizzles of 1024 bytes only");
    if (!block.thread().wgmma_fenced) block.fail("wgmma without wgmma.fence before it");
    for (const Thread& t : block.threads())
        if (!t.proxy_fenced) block.fail("wgmma reads what was copied without fence.proxy.async");
    Issue i{c, a, b};
    block.collective(~0u, issue, &i, site);
}

void wgmma_commit(Site site) {
    block.collective(~0u, commit_products, nullptr, site);
}

void wgmma_wait(Site site) {
    block.thread().wgmma_fenced = false;
    block.collective(~0u, finish_products, nullptr, site);
}

}  // namespace safetyclf::emulation
