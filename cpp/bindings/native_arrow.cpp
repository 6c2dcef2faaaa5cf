#include "native_arrow.hpp"

#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <string>

namespace safetyclf::arrow {
namespace {

enum class Layout { null, utf8, large_utf8, string_view, dictionary };

void require(bool valid, const char* problem) {
    if (!valid) throw InvalidArray(std::string("malformed Arrow array: ") + problem);
}

// What a format string stands for; a longer one with the same beginning has parameters.
std::string name_of(std::string_view format) {
    static constexpr std::pair<std::string_view, const char*> kNames[] = {
        {"+s", "struct, as tables and record batches are; pass one column"},
        {"n", "null"},
        {"b", "bool"},
        {"c", "int8"},
        {"C", "uint8"},
        {"s", "int16"},
        {"S", "uint16"},
        {"i", "int32"},
        {"I", "uint32"},
        {"l", "int64"},
        {"L", "uint64"},
        {"e", "float16"},
        {"f", "float32"},
        {"g", "float64"},
        {"z", "binary; decode it first"},
        {"Z", "large_binary; decode it first"},
        {"vz", "binary_view; decode it first"},
        {"w", "fixed-size binary; decode it first"},
        {"d", "decimal"},
        {"t", "a date or time"},
        {"+r", "run-end encoded; decode it first"},
        {"+m", "map"},
        {"+u", "union"},
        {"+", "list"}};
    for (const auto& [beginning, name] : kNames)
        if (format.starts_with(beginning)) return name;
    return "an unknown format";
}

bool is_integer(std::string_view format) {
    return format.size() == 1 && std::string_view("cCsSiIlL").find(format[0]) != std::string_view::npos;
}

Layout layout_of(const ArrowSchema& schema, bool values_of_dictionary) {
    require(schema.format != nullptr, "no format");
    const std::string_view format = schema.format;
    if (schema.dictionary == nullptr) {
        if (format == "u") return Layout::utf8;
        if (format == "U") return Layout::large_utf8;
        if (format == "vu") return Layout::string_view;
        if (format == "n") return Layout::null;
    } else if (is_integer(format) && !values_of_dictionary) {
        return Layout::dictionary;
    }
    throw InvalidArray(
        "an Arrow array of texts must have type string, large_string or string_view, or be a dictionary of "
        "one, not " +
        std::string(values_of_dictionary ? "a dictionary of " : "") +
        (schema.dictionary != nullptr ? "dictionary" : name_of(format)));
}

// Buffers need not be aligned.
template <class T>
T load(const void* buffer, std::size_t index) {
    T value;
    std::memcpy(&value, static_cast<const char*>(buffer) + index * sizeof(T), sizeof(T));
    return value;
}

// Where the buffers of one array lie; it must not outlive the array.
class Column {
public:
    Column(const ArrowSchema& schema, const ArrowArray& array, bool values_of_dictionary = false);

    // The text of a row, checked; nothing for a null.
    [[nodiscard]] std::optional<std::string_view> at(std::int64_t row) const;

private:
    void check_buffers() const;
    template <class Offset>
    [[nodiscard]] std::string_view between_offsets(std::size_t i) const;
    [[nodiscard]] std::string_view view(std::size_t i) const;
    [[nodiscard]] std::int64_t index(std::size_t i) const;

    const ArrowArray& array_;
    Layout layout_;
    char index_type_;
    std::unique_ptr<Column> dictionary_{};
};

Column::Column(const ArrowSchema& schema, const ArrowArray& array, bool values_of_dictionary)
    : array_(array), layout_(layout_of(schema, values_of_dictionary)), index_type_(schema.format[0]) {
    // A row takes up to 16 bytes, whose addresses must not overflow.
    constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max() / 16;
    require(array.length >= 0 && array.offset >= 0 && array.length < kMost - array.offset,
            "length or offset out of range");
    require(array.n_children == 0 && schema.n_children == 0, "children");
    require((array.dictionary != nullptr) == (layout_ == Layout::dictionary),
            "dictionary missing or unexpected");
    check_buffers();
    if (array.dictionary != nullptr)
        dictionary_ = std::make_unique<Column>(*schema.dictionary, *array.dictionary, true);
}

void Column::check_buffers() const {
    if (layout_ == Layout::null) return;
    const std::int64_t n = array_.n_buffers;
    require(layout_ == Layout::string_view  ? n >= 3
            : layout_ == Layout::dictionary ? n == 2
                                            : n == 3,
            "wrong number of buffers");
    require(array_.buffers != nullptr, "no buffers");
    require(array_.buffers[0] != nullptr || array_.null_count <= 0, "nulls without a validity bitmap");
    // An empty array may have null pointers everywhere.
    require(array_.buffers[1] != nullptr || array_.length == 0, "a buffer is missing");
    if (layout_ == Layout::string_view)
        require(n == 3 || array_.buffers[n - 1] != nullptr, "no buffer sizes");
}

std::optional<std::string_view> Column::at(std::int64_t row) const {
    require(row >= 0 && row < array_.length, "dictionary index out of range");
    if (layout_ == Layout::null) return std::nullopt;
    const auto i = static_cast<std::size_t>(array_.offset + row);
    if (const void* validity = array_.buffers[0])
        if (((load<std::uint8_t>(validity, i / 8) >> (i % 8)) & 1) == 0) return std::nullopt;
    switch (layout_) {
        case Layout::utf8:
            return between_offsets<std::int32_t>(i);
        case Layout::large_utf8:
            return between_offsets<std::int64_t>(i);
        case Layout::string_view:
            return view(i);
        default:
            return dictionary_->at(index(i));
    }
}

template <class Offset>
std::string_view Column::between_offsets(std::size_t i) const {
    const auto begin = load<Offset>(array_.buffers[1], i), end = load<Offset>(array_.buffers[1], i + 1);
    require(begin >= 0 && end >= begin, "offsets are negative or decrease");
    if (begin == end) return {};  // there may be no data at all
    require(array_.buffers[2] != nullptr, "a buffer is missing");
    return {static_cast<const char*>(array_.buffers[2]) + begin, static_cast<std::size_t>(end - begin)};
}

// 16 bytes: the length, then up to 12 bytes of text, or 4 of it, the number of a data buffer and an offset
// there. The last buffer has the sizes of the data buffers, which begin at the third.
std::string_view Column::view(std::size_t i) const {
    const char* at = static_cast<const char*>(array_.buffers[1]) + 16 * i;
    const auto length = load<std::int32_t>(at, 0);
    require(length >= 0, "a view of negative length");
    const auto size = static_cast<std::size_t>(length);
    if (length <= 12) return {at + 4, size};
    const std::int64_t buffer = load<std::int32_t>(at, 2), offset = load<std::int32_t>(at, 3);
    require(buffer >= 0 && buffer < array_.n_buffers - 3, "a view into no buffer");
    const auto available =
        load<std::int64_t>(array_.buffers[array_.n_buffers - 1], static_cast<std::size_t>(buffer));
    require(offset >= 0 && length <= available - offset, "a view outside its buffer");
    require(array_.buffers[2 + buffer] != nullptr, "a buffer is missing");
    return {static_cast<const char*>(array_.buffers[2 + buffer]) + offset, size};
}

// A row of the dictionary, which at() checks; uint64 above the largest int64 turns negative.
std::int64_t Column::index(std::size_t i) const {
    const void* indices = array_.buffers[1];
    switch (index_type_) {
        case 'c':
            return load<std::int8_t>(indices, i);
        case 'C':
            return load<std::uint8_t>(indices, i);
        case 's':
            return load<std::int16_t>(indices, i);
        case 'S':
            return load<std::uint16_t>(indices, i);
        case 'i':
            return load<std::int32_t>(indices, i);
        case 'I':
            return load<std::uint32_t>(indices, i);
        default:
            return load<std::int64_t>(indices, i);
    }
}

}  // namespace

void Texts::read() {
    if (stream_->release != nullptr)
        read_stream();
    else
        append(*arrays_.front().get());
}

void Texts::read_stream() {
    const auto check = [this](int error) {
        if (error == 0) return;
        const char* message =
            stream_->get_last_error != nullptr ? stream_->get_last_error(stream_.get()) : nullptr;
        throw InvalidArray(std::string("the Arrow stream failed: ") +
                           (message != nullptr ? message : std::strerror(error)));
    };
    require(stream_->get_schema != nullptr && stream_->get_next != nullptr, "a stream without functions");
    ArrowSchema schema{};
    check(stream_->get_schema(stream_.get(), &schema));
    schema_ = Owned(schema);
    for (;;) {
        ArrowArray next{};
        check(stream_->get_next(stream_.get(), &next));
        if (next.release == nullptr) return;
        append(*arrays_.emplace_back(next).get());
    }
}

void Texts::append(const ArrowArray& array) {
    const Column column(*schema_.get(), array);
    for (std::int64_t row = 0; row < array.length; ++row) {
        std::optional<std::string_view> text;
        const auto place = [this] { return "text " + std::to_string(views_.size()); };
        try {
            text = column.at(row);
        } catch (const InvalidArray& e) {
            throw InvalidArray(e.what() + (" at " + place()));
        }
        if (!text) throw InvalidArray(place() + " must be str, not NoneType");  // as for None in a list
        views_.push_back(*text);
    }
}

}  // namespace safetyclf::arrow
