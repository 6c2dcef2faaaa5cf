#undef _FORTIFY_SOURCE  // its longjmp knows one stack only
#include "emulation.hpp"

#include <sys/mman.h>
#include <ucontext.h>

#include <atomic>
#include <bit>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "../asan.hpp"
#include "emulated_block.hpp"

#ifdef SAFETYCLF_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

constinit thread_local safetyclf::emulation::Dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace safetyclf::emulation {

thread_local Block block;

namespace {

#ifdef SAFETYCLF_ASAN
constexpr size_t kStack = 256 << 10;
#else
constexpr size_t kStack = 64 << 10;
#endif
constexpr size_t kGuard = 1024;
constexpr uint64_t kCanary = 0x5AFE7C1F5AFE7C1F;

std::string at(Site site) {
    return std::string(site.file) + ":" + std::to_string(site.line);
}

// --- Switching
// -----------------------------------------------------------------------------------------------

void before_switch([[maybe_unused]] Context& from, [[maybe_unused]] const Context& to) {
#ifdef SAFETYCLF_ASAN
    __sanitizer_start_switch_fiber(&from.fake, to.stack, to.size);
#endif
}
// Tells `left` where its stack lies if it has not been told.
void after_switch([[maybe_unused]] void* fake, [[maybe_unused]] Context& left) {
#ifdef SAFETYCLF_ASAN
    const void* stack = nullptr;
    size_t size = 0;
    __sanitizer_finish_switch_fiber(fake, &stack, &size);
    if (left.stack != nullptr) return;
    left.stack = stack;
    left.size = size;
#endif
}

__attribute__((noinline)) void jump(Context& from, Context& to) {
    before_switch(from, to);
    if (_setjmp(from.jump) == 0) _longjmp(to.jump, 1);
    after_switch(from.fake, to);
}

__attribute__((noinline)) void start(Context& from, Context& to, void (*function)()) {
    ucontext_t first;
    getcontext(&first);
    first.uc_stack.ss_sp = const_cast<void*>(to.stack);
    first.uc_stack.ss_size = to.size;
    first.uc_link = nullptr;
    makecontext(&first, function, 0);
    before_switch(from, to);
    if (_setjmp(from.jump) == 0) setcontext(&first);
    after_switch(from.fake, to);
}

}  // namespace

void Block::go(uint32_t number, Context& from) {
    Fiber& fiber = fibers_[number];
    number_ = number;
    threadIdx = threads_[number].index;
    if (fiber.started) return jump(from, fiber.context);
    fiber.started = true;
    start(from, fiber.context, &Block::live);
}

void Block::leave() {
    jump(fibers_[number_].context, outside_);
    __builtin_unreachable();
}

// A fiber's life: a thread of one block after the other. The first is begun by run.
void Block::live() {
    after_switch(nullptr, block.outside_);
    for (;;) {
        (*block.body_)();
        block.sleep();
        if (--block.alive_ == 0) {
            jump(block.fibers_[block.number_].context, block.outside_);
        } else {
            block.yield();
        }
    }
}

// --- Whose turn it is
// ----------------------------------------------------------------------------------------

uint32_t Block::pick(uint32_t set) {
    if (options_.order == Order::forward) return static_cast<uint32_t>(std::countr_zero(set));
    if (options_.order == Order::backward) return 31 - static_cast<uint32_t>(std::countl_zero(set));
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    const int turn = static_cast<int>(random_ % 32);
    return static_cast<uint32_t>(std::countr_zero(std::rotr(set, turn)) + turn) % 32;
}

bool Block::pick_next(uint32_t& number) {
    if (ready_warps_ == 0) return false;
    if (options_.order == Order::random || (ready_warps_ >> current_warp_ & 1) == 0)
        current_warp_ = pick(ready_warps_);
    number = current_warp_ * 32 + pick(warps_[current_warp_].ready);
    return true;
}

void Block::wake(uint32_t warp, uint32_t lanes) {
    warps_[warp].ready |= lanes;
    ready_warps_ |= 1u << warp;
}

void Block::sleep() {
    warp().ready &= ~(1u << number_ % 32);
    if (warp().ready == 0) ready_warps_ &= ~(1u << warp_number());
}

void Block::yield() {
    uint32_t next = number_;
    if (!pick_next(next)) {
        failure_ = describe_stuck();
        leave();
    }
    if (next != number_) go(next, fibers_[number_].context);
}

std::string Block::describe_stuck() const {
    std::string text = "threads wait for one another:", last;
    for (size_t i = 0; i < threads_.size(); ++i) {
        const Thread& t = threads_[i];
        std::string state = t.at_barrier ? "barrier at " : t.mask != 0 ? "collective at " : "ended";
        if (t.at_barrier || t.mask != 0) state += at(t.site);
        if (state != last) text += " from thread " + std::to_string(i) + " " + state;
        last = state;
    }
    return text;
}

// --- Waiting
// -------------------------------------------------------------------------------------------------

void Block::barrier(Site site) {
    thread().at_barrier = true;
    thread().site = site;
    sleep();
    if (++at_barrier_ == threads_.size()) {
        at_barrier_ = 0;
        for (uint32_t i = 0; i < threads_.size(); ++i) {
            if (!(threads_[i].site == site)) fail("threads of a block wait at different barriers");
            threads_[i].at_barrier = false;
            wake(i / 32, 1u << i % 32);
        }
        current_warp_ = pick(ready_warps_);
    }
    yield();
}

void Block::collective(uint32_t mask, Compute compute, void* argument, Site site) {
    const uint32_t lane = number_ % 32;
    if ((mask >> lane & 1) == 0) fail("a lane is not in the mask that it names");
    Thread& self = thread();
    self.mask = mask;
    self.compute = compute;
    self.argument = argument;
    self.site = site;
    sleep();
    warp().arrived |= 1u << lane;
    bool complete = (warp().arrived & mask) == mask;
    void* lanes[32] = {};
    Thread* const threads = &threads_[warp_number() * 32];
    for (uint32_t i = 0; i < 32 && complete; ++i) {
        if ((mask >> i & 1) == 0) continue;
        const Thread& t = threads[i];
        complete = t.mask == mask && t.compute == compute && t.site == site;
        lanes[i] = t.argument;
    }
    if (complete) {
        compute(lanes);
        warp().arrived &= ~mask;
        for (uint32_t i = 0; i < 32; ++i)
            if ((mask >> i & 1) != 0) threads[i].mask = 0;
        wake(warp_number(), mask);
    }
    yield();
}

void Block::fail(const char* what) {
    failure_ = std::string(what) + " (block " + std::to_string(blockIdx.x) + "," +
               std::to_string(blockIdx.y) + "," + std::to_string(blockIdx.z) + ", thread " +
               std::to_string(number_) + ", last waited at " + at(thread().site) + ")";
    leave();
}

// --- A block's beginning and end
// -----------------------------------------------------------------------------

void Block::make_fibers(uint32_t count) {
    drop_fibers();
    void* const stacks = mmap(nullptr, count * kStack, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED) throw std::bad_alloc();
    stacks_ = static_cast<uint8_t*>(stacks);
    fibers_ = std::vector<Fiber>(count);
    for (uint32_t i = 0; i < count; ++i) {
        fibers_[i].context.stack = stacks_ + i * kStack;
        fibers_[i].context.size = kStack;
        memcpy(stacks_ + i * kStack, &kCanary, sizeof kCanary);
    }
}

void Block::drop_fibers() {
    if (stacks_ == nullptr) return;
#ifdef SAFETYCLF_ASAN
    __asan_unpoison_memory_region(stacks_, fibers_.size() * kStack);
#endif
    munmap(stacks_, fibers_.size() * kStack);
    stacks_ = nullptr;
    fibers_.clear();
}

void Block::make_shared(size_t bytes) {
    if (bytes != shared_bytes_ || shared_ == nullptr)
        shared_.reset(new (std::align_val_t{1024}) uint8_t[bytes + kGuard]);
    shared_bytes_ = bytes;
    memset(shared_.get(), kGarbage, bytes + kGuard);
}

void Block::check_guards() {
    for (size_t i = 0; i < kGuard; ++i)
        if (shared_[shared_bytes_ + i] != kGarbage)
            failure_ = "a block wrote behind its dynamic shared memory";
    for (size_t i = 0; i < fibers_.size(); ++i)
        if (memcmp(stacks_ + i * kStack, &kCanary, sizeof kCanary) != 0)
            failure_ = "a thread's stack is too small";
}

void Block::run(const std::function<void()>& body, Dim3 grid, Dim3 where, Dim3 shape, size_t shared_bytes,
                const Options& options) {
    const uint32_t count = shape.x * shape.y * shape.z;
    if (count == 0 || count > 1024) throw std::runtime_error("a block has 1 to 1024 threads");
    if (count != fibers_.size()) make_fibers(count);
    make_shared(shared_bytes);
    body_ = &body;
    options_ = options;
    random_ = (options.seed + where.x * 0x9E3779B97F4A7C15 + where.y * 0xBF58476D1CE4E5B9) | 1;
    failure_.clear();
    at_barrier_ = 0;
    alive_ = count;
    threads_.assign(count, {});
    warps_.assign((count + 31) / 32, {});
    ready_warps_ = 0;
    for (uint32_t i = 0; i < count; ++i) {
        threads_[i].index = {i % shape.x, i / shape.x % shape.y, i / shape.x / shape.y};
        wake(i / 32, 1u << i % 32);
    }
    gridDim = grid;
    blockIdx = where;
    blockDim = shape;
    current_warp_ = pick(ready_warps_);
    uint32_t first = 0;
    pick_next(first);
    go(first, outside_);
    if (failure_.empty()) check_guards();
    if (failure_.empty()) return;
    drop_fibers();  // they stand somewhere in the kernel
    throw std::runtime_error(failure_);
}

std::span<const Kernel> kernels(Arch arch) {
    if (arch == Arch::sm_75) return kernels_of<Arch::sm_75>();
    if (arch == Arch::sm_80) return kernels_of<Arch::sm_80>();
    return kernels_of<Arch::sm_90a>();
}

const Kernel* find(Arch arch, std::string_view name) {
    for (const Kernel& kernel : kernels(arch))
        if (kernel.name == name) return &kernel;
    return nullptr;
}

void launch(const std::function<void()>& thread, Dim3 grid, Dim3 shape, size_t shared_bytes,
            const Options& options) {
    const uint64_t count = uint64_t{grid.x} * grid.y * grid.z;
    std::atomic<uint64_t> taken{0};
    std::mutex lock;
    std::exception_ptr failure;
    const auto work = [&] {
        try {
            for (uint64_t i; (i = taken.fetch_add(1)) < count;) {
                const Dim3 where = {static_cast<uint32_t>(i % grid.x),
                                    static_cast<uint32_t>(i / grid.x % grid.y),
                                    static_cast<uint32_t>(i / grid.x / grid.y)};
                block.run(thread, grid, where, shape, shared_bytes, options);
            }
        } catch (...) {
            const std::lock_guard guard(lock);
            failure = std::current_exception();
            taken = count;
        }
    };
    std::vector<std::thread> others;
    for (unsigned i = 1; i < options.workers; ++i) others.emplace_back(work);
    work();
    for (std::thread& other : others) other.join();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace safetyclf::emulation
