// The tokenizer, for tests only: plain numpy arrays in and out.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/tokenizer.hpp"

namespace py = pybind11;

namespace {

using safetyclf::text::RaggedBatch;
using safetyclf::text::Tokenizer;
using safetyclf::text::TokenizerConfig;

template <typename T>
py::array_t<T> to_array(const std::vector<T>& values) {
    return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

std::vector<std::string_view> views(const std::vector<py::bytes>& texts) {
    std::vector<std::string_view> result;
    result.reserve(texts.size());
    for (const py::bytes& text : texts) result.emplace_back(text);
    return result;
}

// One batch for all calls of a Tokenizer object, as the engine has it, so that tests also see reused buffers.
class TestTokenizer {
public:
    explicit TestTokenizer(const TokenizerConfig& config) : tokenizer_(config) {}

    py::tuple encode(const std::vector<py::bytes>& texts, bool with_offsets, std::size_t stop_at) {
        batch_.clear();
        const std::vector<std::string_view> text_views = views(texts);
        {
            const py::gil_scoped_release release;
            tokenizer_.encode(text_views, with_offsets, batch_, count_checks(stop_at));
        }
        return py::make_tuple(to_array(batch_.ids), to_array(batch_.row_offsets),
                              to_array(batch_.text_offsets), to_array(batch_.begins), to_array(batch_.ends));
    }

    py::tuple normalize(const py::bytes& text, std::size_t stop_at) {
        std::string out;
        std::vector<std::uint32_t> origin;
        tokenizer_.normalize(text, out, origin, count_checks(stop_at));
        return py::make_tuple(py::bytes(out), to_array(origin));
    }

    [[nodiscard]] std::size_t vocabulary_size() const { return tokenizer_.vocabulary_size(); }
    [[nodiscard]] std::size_t checks() const { return checks_; }

private:
    // A stop check that says stop when asked the `stop_at`-th time, never for 0.
    safetyclf::StopCheck count_checks(std::size_t stop_at) {
        checks_ = 0;
        return [this, stop_at] { return ++checks_ == stop_at; };
    }

    Tokenizer tokenizer_;
    RaggedBatch batch_;
    std::size_t checks_ = 0;
};

}  // namespace

void bind_text(py::module_& module) {
    module.def("known_rules", &safetyclf::text::known_rules);
    py::class_<TestTokenizer>(module, "Tokenizer")
        .def(py::init([](const py::bytes& vocabulary, std::vector<std::string> rules, std::uint32_t window,
                         std::uint32_t overlap, bool lowercase) {
                 return TestTokenizer({vocabulary, std::move(rules), lowercase, window, overlap});
             }),
             py::arg("vocabulary"), py::arg("rules") = std::vector<std::string>(), py::arg("window") = 510,
             py::arg("overlap") = 64, py::arg("lowercase") = true)
        .def("encode", &TestTokenizer::encode, py::arg("texts"), py::arg("with_offsets") = true,
             py::arg("stop_at") = 0,
             "ids (int32), row_offsets, text_offsets, begins, ends (uint32); the last two are empty without "
             "offsets")
        .def("normalize", &TestTokenizer::normalize, py::arg("text"), py::arg("stop_at") = 0,
             "the text after the rules and, per byte, where in the original it came from")
        .def_property_readonly("checks", &TestTokenizer::checks, "times the last call asked whether to stop")
        .def_property_readonly("vocabulary_size", &TestTokenizer::vocabulary_size);
}
