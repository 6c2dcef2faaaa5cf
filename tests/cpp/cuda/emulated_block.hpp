// The emulation's inside: a block and the fibers that are its threads.
#pragma once

#include <setjmp.h>

#include <array>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "emulation.hpp"

namespace safetyclf::emulation {

constexpr uint8_t kGarbage = 0xA5;  // in memory that nobody has written

// A place to go on from. The stack's bounds are for AddressSanitizer.
struct Context {
    jmp_buf jump;
    const void* stack = nullptr;
    size_t size = 0;
    void* fake = nullptr;
};

// cp.async: bytes under way.
struct Copy {
    void* to;
    uint8_t data[16];
    uint32_t bytes;
    bool committed;
};

// What a thread has done and waits for in this block.
struct Thread {
    Dim3 index;
    Site site;  // where it waited last
    bool at_barrier = false;
    uint32_t mask = 0;  // of the collective it waits at, or 0
    Compute compute = nullptr;
    void* argument = nullptr;
    std::vector<Copy> copies;
    std::vector<uint32_t> groups;  // copies in each committed group, oldest first
    bool proxy_fenced = true;      // no copy has landed since fence.proxy.async
    bool wgmma_fenced = false;     // wgmma.fence since the last wait
};

constexpr uint32_t kProductRows = 16, kProductColumns = 128;

// A wgmma under way: a warp's 16 of the 64 rows.
struct Product {
    int32_t* c[32];
    uint64_t a, b;
    std::array<uint8_t, (kProductRows + kProductColumns) * 32> operands;  // as they were at first
    bool committed;
};

struct Warp {
    uint32_t ready = 0, arrived = 0;  // lanes that can run; that wait at a collective
    std::vector<Product> products;
};

// One for each OS thread. Its fibers are kept from block to block.
class Block {
public:
    Block() = default;
    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;
    ~Block() { drop_fibers(); }

    void run(const std::function<void()>& thread, Dim3 grid, Dim3 where, Dim3 shape, size_t shared_bytes,
             const Options& options);

    // For the thread that runs.
    Thread& thread() { return threads_[number_]; }
    uint32_t warp_number() const { return number_ / 32; }
    Warp& warp() { return warps_[warp_number()]; }
    std::vector<Thread>& threads() { return threads_; }
    uint8_t* shared() { return shared_.get(); }
    size_t shared_bytes() const { return shared_bytes_; }
    void barrier(Site site);
    void collective(uint32_t mask, Compute compute, void* argument, Site site);
    [[noreturn]] void fail(const char* what);

private:
    struct Fiber {
        Context context;
        bool started = false;
    };
    struct Free {
        void operator()(uint8_t* p) const { ::operator delete[](p, std::align_val_t{1024}); }
    };

    void make_fibers(uint32_t count);
    void drop_fibers();
    void make_shared(size_t bytes);
    void check_guards();

    void wake(uint32_t warp, uint32_t lanes);
    void sleep();
    uint32_t pick(uint32_t set);
    bool pick_next(uint32_t& number);
    void yield();
    void go(uint32_t number, Context& from);
    [[noreturn]] void leave();
    static void live();
    std::string describe_stuck() const;

    const std::function<void()>* body_ = nullptr;
    Options options_;
    uint64_t random_ = 1;
    std::vector<Fiber> fibers_;
    uint8_t* stacks_ = nullptr;
    Context outside_;  // run
    std::vector<Thread> threads_;
    std::vector<Warp> warps_;
    uint32_t ready_warps_ = 0, current_warp_ = 0, number_ = 0;
    size_t at_barrier_ = 0, alive_ = 0;
    std::unique_ptr<uint8_t[], Free> shared_;
    size_t shared_bytes_ = 0;
    std::string failure_;
};

extern thread_local Block block;

}  // namespace safetyclf::emulation
