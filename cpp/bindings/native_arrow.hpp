// Texts in Arrow arrays, read where they lie: views into the producer's buffers, no copy, and no Python in
// here.
//
// Arrow says that producers export valid arrays only. What can be checked for each text is checked all the
// same; how long the buffers of offsets, indices and text are is nowhere in the interface and has to be
// believed.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

// The published ABI: https://arrow.apache.org/docs/format/CDataInterface.html
#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE
extern "C" {
struct ArrowSchema {
    const char* format;
    const char* name;
    const char* metadata;
    std::int64_t flags;
    std::int64_t n_children;
    ArrowSchema** children;
    ArrowSchema* dictionary;
    void (*release)(ArrowSchema*);
    void* private_data;
};

struct ArrowArray {
    std::int64_t length;
    std::int64_t null_count;
    std::int64_t offset;
    std::int64_t n_buffers;
    std::int64_t n_children;
    const void** buffers;
    ArrowArray** children;
    ArrowArray* dictionary;
    void (*release)(ArrowArray*);
    void* private_data;
};
}
#endif

#ifndef ARROW_C_STREAM_INTERFACE
#define ARROW_C_STREAM_INTERFACE
extern "C" {
struct ArrowArrayStream {
    int (*get_schema)(ArrowArrayStream*, ArrowSchema* out);
    int (*get_next)(ArrowArrayStream*, ArrowArray* out);
    const char* (*get_last_error)(ArrowArrayStream*);
    void (*release)(ArrowArrayStream*);
    void* private_data;
};
}
#endif

namespace safetyclf::arrow {

// The array is of another type, has a null, or is malformed.
class InvalidArray : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

// A structure that has been moved out of its place, as consumers must, and is released once.
template <class T>
class Owned {
public:
    Owned() = default;
    explicit Owned(T& from) : value_(std::exchange(from, T{})) {}
    Owned(Owned&& other) noexcept : Owned(other.value_) {}
    Owned& operator=(Owned&& other) noexcept {
        std::swap(value_, other.value_);
        return *this;
    }
    ~Owned() {
        if (value_.release != nullptr) value_.release(&value_);
    }

    T* get() { return &value_; }
    T* operator->() { return &value_; }

private:
    T value_{};
};

// The views hold for the life of this object, which keeps the arrays. read() needs no GIL and must not hold
// it: a stream may wait for other threads. The destructor, which releases, wants it, as in the capsules'.
class Texts {
public:
    // Both move from their arguments, which must not be released yet, before they can throw.
    Texts(ArrowSchema& schema, ArrowArray& array) : schema_(schema) { arrays_.emplace_back(array); }
    explicit Texts(ArrowArrayStream& stream) : stream_(stream) {}

    void read();
    [[nodiscard]] const std::vector<std::string_view>& views() const { return views_; }

private:
    void read_stream();
    void append(const ArrowArray& array);

    Owned<ArrowArrayStream> stream_;
    Owned<ArrowSchema> schema_;
    std::vector<Owned<ArrowArray>> arrays_;
    std::vector<std::string_view> views_;
};

}  // namespace safetyclf::arrow
