#include "native_texts.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace safetyclf::binding {
namespace {

std::string errors_module;

// Raises the class of that name from the package's errors.
[[noreturn]] void raise_error(const char* name, const std::string& message) {
    const py::object type = py::module_::import(errors_module.c_str()).attr(name);
    // What an Arrow stream says of its failure need not be UTF-8.
    const auto text = py::reinterpret_steal<py::object>(
        PyUnicode_DecodeUTF8(message.data(), static_cast<Py_ssize_t>(message.size()), "replace"));
    if (text) PyErr_SetObject(type.ptr(), text.ptr());
    throw py::error_already_set();
}

// The structure in a PyCapsule of that name, for the consumer to move out.
template <class T>
T& in_capsule(PyObject* object, const char* name) {
    auto* structure =
        PyCapsule_IsValid(object, name) ? static_cast<T*>(PyCapsule_GetPointer(object, name)) : nullptr;
    if (structure == nullptr || structure->release == nullptr)
        raise_error("InvalidInputError", std::string("the texts gave no valid capsule ") + name);
    return *structure;
}

// What the object's Arrow PyCapsule interface exports; nothing for an object without.
std::optional<arrow::Texts> from_arrow(const py::handle& source) {
    if (PyTuple_Check(source.ptr()) || PyList_Check(source.ptr())) return std::nullopt;
    try {
        if (py::hasattr(source, "__arrow_c_array__")) {
            const py::object pair = source.attr("__arrow_c_array__")();
            if (!PyTuple_Check(pair.ptr()) || PyTuple_GET_SIZE(pair.ptr()) != 2)
                raise_error("InvalidInputError", "__arrow_c_array__ of the texts gave no pair of capsules");
            auto& schema = in_capsule<ArrowSchema>(PyTuple_GET_ITEM(pair.ptr(), 0), "arrow_schema");
            return std::optional<arrow::Texts>(
                std::in_place, schema,
                in_capsule<ArrowArray>(PyTuple_GET_ITEM(pair.ptr(), 1), "arrow_array"));
        }
        if (py::hasattr(source, "__arrow_c_stream__")) {
            const py::object capsule = source.attr("__arrow_c_stream__")();
            return std::optional<arrow::Texts>(
                std::in_place, in_capsule<ArrowArrayStream>(capsule.ptr(), "arrow_array_stream"));
        }
    } catch (py::error_already_set& e) {
        if (!e.matches(PyExc_ImportError)) throw;  // a pandas Series where pyarrow is not installed
    }
    return std::nullopt;
}

template <class T>
py::bytes as_bytes(std::span<const T> values) {
    return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

}  // namespace

void set_package(const std::string& name) {
    errors_module = name + "_errors";
}

const char* class_of(ErrorCode code) {
    switch (code) {
        case ErrorCode::invalid_argument:
            return "InvalidArgumentError";
        case ErrorCode::input_too_large:
            return "TextTooLargeError";
        case ErrorCode::model_io:
            return "ModelFileError";
        case ErrorCode::model_format:
            return "ModelFormatError";
        case ErrorCode::unsupported_isa:
            return "UnsupportedIsaError";
        case ErrorCode::device:
            return "DeviceError";
        case ErrorCode::cancelled:
        case ErrorCode::internal:
            break;
    }
    return "InternalError";
}

void restore_error(const char* name, const char* message) {
    try {
        raise_error(name, message);
    } catch (py::error_already_set& set) {
        set.restore();
    }
}

Texts::Texts(const py::handle& source) : arrow_(from_arrow(source)) {
    if (arrow_) {
        const py::gil_scoped_release release;
        arrow_->read();
        return;
    }
    items_ = py::reinterpret_steal<py::tuple>(PySequence_Tuple(source.ptr()));
    if (!items_) throw py::error_already_set();
    views_.reserve(items_.size());
    for (std::size_t i = 0; i < items_.size(); ++i) add(i, PyTuple_GET_ITEM(items_.ptr(), i));
}

py::tuple Texts::strings() const {
    if (!arrow_) return items_;
    py::tuple out(views().size());
    for (std::size_t i = 0; i < out.size(); ++i) {
        const std::string_view text = views()[i];
        PyObject* item = PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace");
        if (item == nullptr) throw py::error_already_set();
        PyTuple_SET_ITEM(out.ptr(), static_cast<Py_ssize_t>(i), item);
    }
    return out;
}

void Texts::add(std::size_t index, PyObject* item) {
    if (!PyUnicode_Check(item)) {
        const std::string type = Py_TYPE(item)->tp_name;
        raise_error("InvalidInputError", "text " + std::to_string(index) + " must be str, not " + type +
                                             (type == "bytes" ? "; decode it first" : ""));
    }
    Py_ssize_t size = 0;
    if (const char* utf8 = PyUnicode_AsUTF8AndSize(item, &size)) {
        views_.emplace_back(utf8, static_cast<std::size_t>(size));
        return;
    }
    if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) throw py::error_already_set();
    PyErr_Clear();
    const auto bytes =
        py::reinterpret_steal<py::bytes>(PyUnicode_AsEncodedString(item, "utf-8", "surrogatepass"));
    if (!bytes) throw py::error_already_set();
    std::string& text = owned_.emplace_back(static_cast<std::string>(bytes));
    for (std::size_t i = 0; i + 2 < text.size(); ++i)
        if (static_cast<unsigned char>(text[i]) == 0xED && static_cast<unsigned char>(text[i + 1]) >= 0xA0)
            text.replace(i, 3, "\xEF\xBF\xBD");
    views_.emplace_back(text);
    repaired_.push_back(index);
}

// From the bytes of float32 [2, classes]: the review and the block thresholds.
std::vector<policy::Thresholds> thresholds_of(std::string_view bytes, std::size_t classes) {
    if (bytes.size() != 2 * classes * sizeof(float))
        throw Error(ErrorCode::invalid_argument, "need one review and one block threshold per category");
    std::vector<policy::Thresholds> out(classes);
    for (std::size_t c = 0; c < classes; ++c) {
        std::memcpy(&out[c].review, bytes.data() + c * sizeof(float), sizeof(float));
        std::memcpy(&out[c].block, bytes.data() + (classes + c) * sizeof(float), sizeof(float));
    }
    return out;
}

py::list states(std::span<const float> probabilities, std::span<const policy::Thresholds> thresholds,
                std::span<const std::uint32_t> windows, std::span<const std::size_t> repaired) {
    static const std::array actions{PyUnicode_InternFromString("allow"), PyUnicode_InternFromString("review"),
                                    PyUnicode_InternFromString("block")};
    const std::size_t classes = thresholds.size();
    std::vector<std::uint8_t> flags(classes);
    py::list out(windows.size());
    auto next = repaired.begin();
    for (std::size_t i = 0; i < windows.size(); ++i) {
        const std::span<const float> row = probabilities.subspan(i * classes, classes);
        const auto action = static_cast<std::size_t>(policy::Policy::decide(row, thresholds, flags));
        const bool was_repaired = next != repaired.end() && *next == i;
        if (was_repaired) ++next;
        out[i] = py::make_tuple(as_bytes(row), as_bytes(std::span<const std::uint8_t>(flags)),
                                py::handle(actions[action]), windows[i], was_repaired);
    }
    return out;
}

}  // namespace safetyclf::binding
