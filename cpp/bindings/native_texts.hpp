// What the files of the binding share: texts as UTF-8 views, errors as Python has them, verdicts.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "native_arrow.hpp"
#include "policy/policy.hpp"
#include "safetyclf/error.hpp"

namespace safetyclf::binding {

namespace py = pybind11;

// Whose errors are raised: "safetyclf", or the package that a copy was vendored into.
void set_package(const std::string& name);
// Name of the class in the package's errors.
[[nodiscard]] const char* class_of(ErrorCode code);
// Sets the error of that class for Python.
void restore_error(const char* name, const char* message);

// Texts of one call. A lone surrogate has no UTF-8 form: its three bytes become those of U+FFFD, so that byte
// offsets stay, and the text is listed as repaired. Texts in Arrow arrays are not copied.
class Texts {
public:
    explicit Texts(const py::handle& source);

    [[nodiscard]] const std::vector<std::string_view>& views() const {
        return arrow_ ? arrow_->views() : views_;
    }
    [[nodiscard]] const std::vector<std::size_t>& repaired() const { return repaired_; }
    // As Python strings. What is ill-formed becomes U+FFFD, as the engine reads it.
    [[nodiscard]] py::tuple strings() const;

private:
    void add(std::size_t index, PyObject* item);

    std::optional<arrow::Texts> arrow_;
    // A tuple, not the caller's list: another thread may change a list while the GIL is released.
    py::tuple items_;
    std::vector<std::string_view> views_;
    std::list<std::string> owned_;
    std::vector<std::size_t> repaired_;
};

// From the bytes of float32 [2, classes]: the review and the block thresholds.
[[nodiscard]] std::vector<policy::Thresholds> thresholds_of(std::string_view bytes, std::size_t classes);

// One tuple (scores, flags, action, windows, repaired) per text, without NumPy. Scores and flags as bytes:
// most callers look at few of them. probabilities: [texts, thresholds.size()].
[[nodiscard]] py::list states(std::span<const float> probabilities,
                              std::span<const policy::Thresholds> thresholds,
                              std::span<const std::uint32_t> windows, std::span<const std::size_t> repaired);

void bind_batcher(py::module_& m);

}  // namespace safetyclf::binding
