#include "emulated_device.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <sstream>

namespace safetyclf::emulation {
namespace {

constexpr std::size_t kGuard = 256;  // bytes before and behind each piece of memory
constexpr int kGuardByte = 0x5A, kFreshByte = 0xC3, kFreedByte = 0x3C;
constexpr std::align_val_t kAlignment{256};

bool untouched(const std::byte* guard) {
    for (std::size_t i = 0; i < kGuard; ++i)
        if (guard[i] != std::byte{kGuardByte}) return false;
    return true;
}

[[noreturn]] void die(const std::string& what) {
    std::fprintf(stderr, "emulated CUDA driver: %s\n", what.c_str());
    std::abort();
}

}  // namespace

Settings Settings::read() {
    Settings s;
    const char* const text = std::getenv("SAFETYCLF_EMULATED_CUDA");
    std::istringstream words(text == nullptr ? "" : text);
    for (std::string word; words >> word;) {
        const std::size_t equals = std::min(word.find('='), word.size() - 1);
        const std::string name = word.substr(0, equals);
        std::int64_t* const setting = name == "devices"        ? &s.devices
                                      : name == "version"      ? &s.version
                                      : name == "capability"   ? &s.capability
                                      : name == "memory"       ? &s.memory
                                      : name == "lost_after"   ? &s.lost_after
                                      : name == "image"        ? &s.image
                                      : name == "init"         ? &s.init
                                      : name == "plain_linear" ? &s.plain_linear
                                      : name == "order"        ? &s.order
                                      : name == "idle"         ? &s.idle
                                                               : nullptr;
        if (setting == nullptr) die("no setting " + word);
        *setting = std::stoll(word.substr(equals + 1));
    }
    return s;
}

Machine& Machine::get() {
    static Machine* const machine = new Machine;  // outlives every classifier
    return *machine;
}

void* Machine::allocate(std::size_t bytes, int device) {
    const std::lock_guard lock(mutex_);
    if (bytes == 0 || (device >= 0 && used_[device] + bytes > static_cast<std::size_t>(settings.memory)))
        return nullptr;
    auto* const whole = static_cast<std::byte*>(::operator new(bytes + 2 * kGuard, kAlignment));
    std::memset(whole, kGuardByte, bytes + 2 * kGuard);
    std::memset(whole + kGuard, kFreshByte, bytes);
    memory_[whole + kGuard] = {bytes, device};
    used_[device] += bytes;
    if (device >= 0) {
        counts_.live_bytes += bytes;
        counts_.peak_bytes = std::max(counts_.peak_bytes, counts_.live_bytes);
    }
    ++counts_.live_pieces;
    return whole + kGuard;
}

Result Machine::free(void* memory, int device) {
    const std::lock_guard lock(mutex_);
    const auto found = memory_.find(static_cast<const std::byte*>(memory));
    if (found == memory_.end() || found->second.device != device) return kInvalidValue;
    const std::size_t bytes = found->second.bytes;
    auto* const begin = static_cast<std::byte*>(memory);
    if (!untouched(begin - kGuard) || !untouched(begin + bytes)) die("written beyond a piece of memory");
    std::memset(begin, kFreedByte, bytes);
    ::operator delete(begin - kGuard, kAlignment);
    used_[device] -= bytes;
    if (device >= 0) counts_.live_bytes -= bytes;
    --counts_.live_pieces;
    memory_.erase(found);
    return cuda::kSuccess;
}

bool Machine::owns(const void* memory, std::size_t bytes, int device) {
    const std::lock_guard lock(mutex_);
    const auto* const begin = static_cast<const std::byte*>(memory);
    auto piece = memory_.upper_bound(begin);
    if (piece == memory_.begin()) return false;
    --piece;
    return piece->second.device == device && begin + bytes <= piece->first + piece->second.bytes;
}

Counts Machine::counts() {
    const std::lock_guard lock(mutex_);
    return counts_;
}

void Machine::enqueue(cuda::StreamTag& stream, Operation operation) {
    if (stream.capture != nullptr) {
        stream.capture->operations.push_back(std::move(operation));
        return;
    }
    const std::lock_guard lock(stream.mutex);
    stream.queue.push_back(std::move(operation));
    ++stream.queued;
}

Result Machine::run(cuda::StreamTag& stream, std::uint64_t position) {
    const std::lock_guard lock(stream.mutex);
    while (stream.done < position) {
        const Operation operation = std::move(stream.queue.front());
        stream.queue.pop_front();
        ++stream.done;
        if (const Result result = perform(operation, stream.device); result != cuda::kSuccess) {
            const std::lock_guard state(mutex_);
            return lost_ = result;
        }
    }
    return lost();
}

Result Machine::perform(const Operation& operation, int device) {
    if (const Result result = lost(); result != cuda::kSuccess) return result;
    if (operation.kernel == nullptr) {
        // Memory that was there when the copy was queued may be gone by now.
        const bool up =
            owns(operation.to, operation.bytes, device) && owns(operation.from, operation.bytes, -1);
        const bool down =
            owns(operation.to, operation.bytes, -1) && owns(operation.from, operation.bytes, device);
        if (!up && !down) die("a copy from or to memory that is not there");
        std::memcpy(operation.to, operation.from, operation.bytes);
        return cuda::kSuccess;
    }
    std::uint64_t number;
    {
        const std::lock_guard lock(mutex_);
        number = counts_.launches;
        if (counts_.launches++ >= static_cast<std::uint64_t>(settings.lost_after)) return kLaunchFailed;
    }
    if (settings.idle != 0) return cuda::kSuccess;
    const Kernel& kernel = *operation.kernel;
    if (const auto plain = settings.plain_linear != 0 ? plain_linear(kernel.name) : nullptr) {
        plain(operation.args.data());
        return cuda::kSuccess;
    }
    try {
        launch([&] { kernel.run(operation.args.data()); }, operation.grid, {operation.threads},
               operation.shared, {.order = static_cast<Order>(settings.order), .seed = number, .workers = 1});
    } catch (const std::exception& error) {
        die(std::string(kernel.name) + ": " + error.what());
    }
    return cuda::kSuccess;
}

}  // namespace safetyclf::emulation
