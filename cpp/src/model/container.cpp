#include "model/container.hpp"

#include <algorithm>
#include <limits>
#include <optional>

#include "model/json.hpp"
#include "model/sha256.hpp"
#include "safetyclf/error.hpp"

namespace safetyclf::model {
namespace {

constexpr std::size_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeader = 16u << 20;
constexpr std::size_t kMaxDimensions = 8;
constexpr std::uint64_t kMaxBytes = std::numeric_limits<std::int64_t>::max();

struct DTypeEntry {
    std::string_view name;
    DType dtype;
    std::uint64_t bytes;
};
constexpr DTypeEntry kDTypes[] = {
    {"F32", DType::f32, 4}, {"I32", DType::i32, 4}, {"I8", DType::i8, 1}, {"U8", DType::u8, 1}};

[[noreturn]] void fail(const std::string& message) {
    throw Error(ErrorCode::model_format, message);
}

std::string_view as_text(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string_view header_of(std::span<const std::byte> file) {
    if (file.empty()) fail("the file is empty");
    if (file.size() < kLengthBytes) {
        fail("the file has " + std::to_string(file.size()) + " bytes, too few for the header length");
    }
    std::uint64_t length = 0;
    for (std::size_t i = kLengthBytes; i-- > 0;)
        length = length << 8 | std::to_integer<std::uint64_t>(file[i]);
    if (length == 0) fail("the header length is 0");
    if (length > kMaxHeader) {
        fail("the header length " + std::to_string(length) + " is above the limit of " +
             std::to_string(kMaxHeader) + " bytes");
    }
    if (length > file.size() - kLengthBytes) {
        fail("the header length " + std::to_string(length) + " reaches beyond the end of the file (" +
             std::to_string(file.size()) + " bytes)");
    }
    return as_text(file.subspan(kLengthBytes, static_cast<std::size_t>(length)));
}

struct Entry {
    std::string name;
    std::string label;  // the name, safe for messages
    std::uint64_t begin = 0, end = 0, element = 0;
    Tensor tensor{};
};

// One entry of the header except for its bytes, which need the offsets of all.
Entry read_entry(const std::string& name, const json::Value& value) {
    Entry entry;
    entry.name = name;
    entry.label = "tensor \"" + json::printable(name) + "\"";
    const auto bad = [&](const std::string& what) { fail(entry.label + ": " + what); };
    if (value.kind != json::Kind::object) bad("its header entry is not an object");
    const json::Value* const dtype = value.find("dtype");
    const json::Value* const shape = value.find("shape");
    const json::Value* const offsets = value.find("data_offsets");
    if (value.keys.size() != 3 || dtype == nullptr || shape == nullptr || offsets == nullptr) {
        bad("its header entry must have exactly the keys dtype, shape and data_offsets");
    }

    if (dtype->kind != json::Kind::string) bad("dtype is not a string");
    const auto* const known = std::find_if(std::begin(kDTypes), std::end(kDTypes),
                                           [&](const DTypeEntry& d) { return d.name == dtype->text; });
    if (known == std::end(kDTypes)) bad("unknown dtype \"" + json::printable(dtype->text) + "\"");
    entry.tensor.dtype = known->dtype;
    entry.element = known->bytes;

    if (shape->kind != json::Kind::array) bad("shape is not an array");
    if (shape->items.size() > kMaxDimensions) bad("shape has more than 8 dimensions");
    std::uint64_t bytes = known->bytes;
    bool empty = false;
    for (const json::Value& item : shape->items) {
        const std::optional<std::uint64_t> size = item.as_unsigned();
        if (!size) bad("shape holds something other than a non-negative 64-bit integer");
        entry.tensor.shape.push_back(*size);
        if (*size == 0) {
            empty = true;
        } else if (bytes > kMaxBytes / *size) {
            bad("its shape has more bytes than a 63-bit number can count");
        } else {
            bytes *= *size;
        }
    }
    if (empty) bytes = 0;

    if (offsets->kind != json::Kind::array || offsets->items.size() != 2) bad("data_offsets is not a pair");
    const std::optional<std::uint64_t> begin = offsets->items[0].as_unsigned();
    const std::optional<std::uint64_t> end = offsets->items[1].as_unsigned();
    if (!begin || !end) bad("data_offsets holds something other than a non-negative 64-bit integer");
    if (*begin > *end) bad("data_offsets end before they begin");
    if (*end - *begin != bytes) {
        bad("dtype and shape take " + std::to_string(bytes) + " bytes but data_offsets span " +
            std::to_string(*end - *begin));
    }
    entry.begin = *begin;
    entry.end = *end;
    return entry;
}

// Entries sorted by offset must cover the buffer exactly; then each gets its bytes.
void place(std::vector<Entry>& entries, std::span<const std::byte> buffer, std::uint64_t buffer_offset) {
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
        return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
    });
    std::uint64_t covered = 0;
    for (Entry& entry : entries) {
        if (entry.begin > covered) {
            fail(entry.label + ": a hole of " + std::to_string(entry.begin - covered) +
                 " bytes lies before it; tensors must cover the buffer exactly");
        }
        if (entry.begin < covered) fail(entry.label + ": overlaps another tensor");
        if (entry.end > buffer.size()) {
            fail(entry.label + ": ends at byte " + std::to_string(entry.end) + " of a buffer of " +
                 std::to_string(buffer.size()) + " bytes; the file is truncated or the offsets are wrong");
        }
        if ((buffer_offset + entry.begin) % entry.element != 0) {
            fail(entry.label + ": misaligned, its place in the file is no multiple of its element size");
        }
        entry.tensor.bytes = buffer.subspan(static_cast<std::size_t>(entry.begin),
                                            static_cast<std::size_t>(entry.end - entry.begin));
        covered = entry.end;
    }
    if (covered != buffer.size()) {
        fail(std::to_string(buffer.size() - covered) + " trailing bytes after the last tensor");
    }
}

}  // namespace

std::string_view dtype_name(DType dtype) {
    return std::find_if(std::begin(kDTypes), std::end(kDTypes),
                        [&](const DTypeEntry& d) { return d.dtype == dtype; })
        ->name;
}

std::string shape_name(const Shape& shape) {
    std::string name;
    for (const std::uint64_t size : shape) {
        if (!name.empty()) name += 'x';
        name += std::to_string(size);
    }
    return name;
}

Container read_container(std::span<const std::byte> file) {
    const std::string_view header = header_of(file);
    json::Value root;
    try {
        root = json::parse(header);
    } catch (const json::ParseError& error) {
        fail(std::string("the header is not valid JSON: ") + error.what());
    }
    if (root.kind != json::Kind::object) fail("the header is not a JSON object");

    Container container;
    std::vector<Entry> entries;
    for (std::size_t i = 0; i < root.keys.size(); ++i) {
        const json::Value& value = root.items[i];
        if (root.keys[i] != "__metadata__") {
            entries.push_back(read_entry(root.keys[i], value));
            continue;
        }
        if (value.kind != json::Kind::object) fail("__metadata__ is not an object");
        container.metadata_json = header.substr(value.begin, value.end - value.begin);
        for (std::size_t k = 0; k < value.keys.size(); ++k) {
            if (value.items[k].kind != json::Kind::string) {
                fail("metadata \"" + json::printable(value.keys[k]) + "\" is not a string");
            }
            container.metadata.emplace(value.keys[k], value.items[k].text);
        }
    }
    const std::size_t buffer_offset = kLengthBytes + header.size();
    place(entries, file.subspan(buffer_offset), buffer_offset);
    for (Entry& entry : entries) container.tensors.emplace(std::move(entry.name), std::move(entry.tensor));
    container.header_sha256 = sha256(header);
    return container;
}

}  // namespace safetyclf::model
