// The Python binding: conversions and the GIL, no logic. Texts are collected as UTF-8 views while the GIL is
// held, and the str objects or Arrow arrays are kept alive; the whole native call runs without it.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "attack/attack.hpp"
#include "cuda/accelerator.hpp"
#include "cuda/fatbin.hpp"
#include "native_texts.hpp"
#include "safetyclf/classifier.hpp"

namespace py = pybind11;

namespace {

using safetyclf::Classifier;
using safetyclf::Error;
using safetyclf::ErrorCode;
using safetyclf::TermMatcher;
using safetyclf::binding::class_of;
using safetyclf::binding::restore_error;
using safetyclf::binding::Texts;

// Lets Ctrl-C stop a long call: the calling thread looks for signals every 50 ms.
class SignalCheck {
public:
    bool operator()() {
        const auto now = std::chrono::steady_clock::now();
        if (now - last_ < std::chrono::milliseconds(50)) return false;
        last_ = now;
        const py::gil_scoped_acquire gil;
        return PyErr_CheckSignals() != 0;
    }

private:
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

// Runs `body(stop)` without the GIL.
template <class Body>
void without_gil(Body body) {
    try {
        const py::gil_scoped_release release;
        body(safetyclf::StopCheck(SignalCheck()));
    } catch (const Error& e) {
        if (e.code() == ErrorCode::cancelled && PyErr_Occurred()) throw py::error_already_set();
        throw;
    }
}

template <class T>
py::array_t<T> as_array(std::vector<T>&& values, std::vector<py::ssize_t> shape) {
    auto* owner = new std::vector<T>(std::move(values));
    const py::capsule release(owner, [](void* p) { delete static_cast<std::vector<T>*>(p); });
    return py::array_t<T>(std::move(shape), owner->data(), release);
}

py::ssize_t ssize(std::size_t n) {
    return static_cast<py::ssize_t>(n);
}

py::tuple score(const Classifier& classifier, const py::handle& sequence, int depth) {
    const Texts texts(sequence);
    const std::size_t n = texts.views().size(), classes = classifier.categories().size();
    std::vector<float> values(n * classes);
    std::vector<std::uint32_t> windows(n);
    without_gil([&](const safetyclf::StopCheck& stop) {
        if (depth < 0)
            classifier.probabilities(texts.views(), values, windows, stop);
        else
            classifier.logits(texts.views(), static_cast<std::size_t>(depth), values, windows, stop);
    });
    return py::make_tuple(as_array(std::move(values), {ssize(n), ssize(classes)}),
                          as_array(std::move(windows), {ssize(n)}), texts.repaired());
}

py::tuple score_adaptively(const Classifier& classifier, const py::handle& sequence, std::size_t level) {
    const Texts texts(sequence);
    const std::size_t n = texts.views().size(), classes = classifier.categories().size();
    std::vector<float> values(n * classes);
    std::vector<std::uint32_t> windows(n);
    std::vector<std::uint16_t> depths(n);
    without_gil([&](const safetyclf::StopCheck& stop) {
        classifier.adaptive_probabilities(texts.views(), level, values, windows, depths, stop);
    });
    return py::make_tuple(as_array(std::move(values), {ssize(n), ssize(classes)}),
                          as_array(std::move(windows), {ssize(n)}), texts.repaired(),
                          as_array(std::move(depths), {ssize(n)}));
}

// As Classifier._verdicts wants them.
py::list verdicts(const Classifier& classifier, const py::handle& sequence, std::string_view thresholds_bytes,
                  std::optional<std::size_t> level) {
    const Texts texts(sequence);
    const std::size_t n = texts.views().size(), classes = classifier.categories().size();
    const auto thresholds = safetyclf::binding::thresholds_of(thresholds_bytes, classes);
    std::vector<float> values(n * classes);
    std::vector<std::uint32_t> windows(n);
    std::vector<std::uint16_t> depths(n);
    without_gil([&](const safetyclf::StopCheck& stop) {
        if (level)
            classifier.adaptive_probabilities(texts.views(), *level, values, windows, depths, stop);
        else
            classifier.probabilities(texts.views(), values, windows, stop);
    });
    return safetyclf::binding::states(values, thresholds, windows, texts.repaired());
}

// One list of floors per level.
py::list exit_floors(const Classifier& classifier) {
    const std::vector<float> floors = classifier.exit_floors();
    const auto classes = static_cast<std::ptrdiff_t>(classifier.categories().size());
    py::list out;
    for (auto level = floors.begin(); level != floors.end(); level += classes)
        out.append(std::vector<float>(level, level + classes));
    return out;
}

// One tuple of probabilities per window.
py::list window_probabilities(const Classifier& classifier, const std::vector<std::int32_t>& ids,
                              const std::vector<std::uint32_t>& row_offsets,
                              std::optional<std::size_t> level) {
    const std::size_t classes = classifier.categories().size();
    std::vector<float> values(row_offsets.size() * classes);
    without_gil([&](const safetyclf::StopCheck& stop) {
        classifier.window_probabilities(ids, row_offsets, level, values, stop);
    });
    py::list out;
    for (std::size_t w = 0; w + 1 < row_offsets.size(); ++w) {
        py::tuple row(classes);
        for (std::size_t c = 0; c < classes; ++c) row[c] = py::float_(values[w * classes + c]);
        out.append(row);
    }
    return out;
}

py::tuple pooled(const Classifier& classifier, const py::handle& sequence) {
    const Texts texts(sequence);
    std::vector<std::uint32_t> offsets;
    std::vector<float> values;
    without_gil(
        [&](const safetyclf::StopCheck& stop) { values = classifier.pooled(texts.views(), offsets, stop); });
    const py::ssize_t windows = ssize(offsets.back()), texts_and_one = ssize(offsets.size());
    return py::make_tuple(
        as_array(std::move(values), {windows, ssize(classifier.depths()), ssize(classifier.hidden())}),
        as_array(std::move(offsets), {texts_and_one}));
}

// (logit, bias, window, [(begin, end, weight, continues a word), ...])
py::tuple explain(const Classifier& classifier, const py::object& text, std::size_t category) {
    const Texts texts(py::make_tuple(text));
    safetyclf::Explanation e;
    without_gil(
        [&](const safetyclf::StopCheck& stop) { e = classifier.explain(texts.views()[0], category, stop); });
    py::list tokens;
    for (const auto& c : e.contributions)
        tokens.append(py::make_tuple(c.begin, c.end, c.weight, c.continues_word));
    return py::make_tuple(e.logit, e.bias, e.window, tokens);
}

py::tuple tokenize(const Classifier& classifier, const py::object& text) {
    const Texts texts(py::make_tuple(text));
    safetyclf::Tokens t;
    without_gil([&](const safetyclf::StopCheck& stop) { t = classifier.tokenize(texts.views()[0], stop); });
    return py::make_tuple(t.ids, t.begins, t.ends, t.row_offsets);
}

py::str normalize(const Classifier& classifier, const py::object& text) {
    const Texts texts(py::make_tuple(text));
    std::string out;
    without_gil(
        [&](const safetyclf::StopCheck& stop) { out = classifier.normalize(texts.views()[0], stop); });
    return out;
}

std::unique_ptr<TermMatcher> term_matcher(const Classifier& classifier, const py::object& terms,
                                          const std::vector<std::uint8_t>& modes) {
    const Texts texts(terms);
    if (texts.views().size() != modes.size() ||
        std::any_of(modes.begin(), modes.end(), [](std::uint8_t mode) { return mode > 2; }))
        throw Error(ErrorCode::invalid_argument, "need one mode, from 0 to 2, for each term");
    std::vector<safetyclf::Term> list;
    for (const std::string_view text : texts.views())
        list.push_back({text, static_cast<safetyclf::TermMode>(modes[list.size()])});
    const py::gil_scoped_release release;
    return std::make_unique<TermMatcher>(classifier, list);
}

// For each text its matches (term, byte begin, byte end).
py::list find_terms(const TermMatcher& matcher, const py::object& sequence) {
    const Texts texts(sequence);
    std::vector<std::vector<safetyclf::TermMatch>> found;
    without_gil([&](const safetyclf::StopCheck& stop) { found = matcher.find(texts.views(), stop); });
    py::list out;
    for (const auto& matches : found) {
        py::list row;
        for (const auto& match : matches) row.append(py::make_tuple(match.term, match.begin, match.end));
        out.append(std::move(row));
    }
    return out;
}

py::list attacked(const py::object& sequence, const std::string& kind, double strength, std::uint64_t seed) {
    const Texts texts(sequence);
    std::vector<std::string> found(texts.views().size());
    without_gil([&](const safetyclf::StopCheck& stop) {
        for (std::size_t i = 0; i < found.size(); ++i) {
            if (stop()) throw Error(ErrorCode::cancelled, "stopped by the caller");
            safetyclf::attack::apply(texts.views()[i], kind, strength, seed, found[i]);
        }
    });
    py::list out(found.size());
    for (std::size_t i = 0; i < found.size(); ++i) out[i] = py::str(found[i]);
    return out;
}

py::dict build_info() {
    py::dict info;
    info["version"] = SAFETYCLF_VERSION;
    info["isa"] = safetyclf::active_isa();
    info["supported_isas"] = safetyclf::supported_isas();
    info["compiled_isas"] = safetyclf::compiled_isas();
    info["numerics_revision"] = safetyclf::numerics_revision();
    info["compiler"] = __VERSION__;
    info["cuda"] = safetyclf::cuda::safetyclf_cuda_fatbin_size > 0;
    info["cuda_architectures"] = py::str(safetyclf::cuda::kArchitectures).attr("split")();
    return info;
}

}  // namespace

// What is registered is local to this module, so that two copies of it in one process do not meet. A Python
// without a GIL need not bring one back: objects are immutable or lock, and nothing else is written after
// this.
PYBIND11_MODULE(_native, m, py::mod_gil_not_used()) {
    const auto name = m.attr("__name__").cast<std::string>();
    safetyclf::binding::set_package(name.substr(0, name.rfind('.') + 1));
    py::register_local_exception_translator([](std::exception_ptr p) {
        try {
            if (p) std::rethrow_exception(p);
        } catch (const Error& e) {
            restore_error(class_of(e.code()), e.what());
        } catch (const safetyclf::arrow::InvalidArray& e) {
            restore_error("InvalidInputError", e.what());
        }
    });

    py::class_<Classifier>(m, "Engine", py::module_local())
        .def(py::init([](const std::string& path, unsigned threads, std::size_t max_text_bytes,
                         const std::string& isa, std::size_t max_memory, std::optional<unsigned> cuda) {
                 const py::gil_scoped_release release;
                 safetyclf::Options options{.threads = threads,
                                            .max_text_bytes = max_text_bytes,
                                            .isa = isa,
                                            .max_memory = max_memory};
                 if (cuda) options.accelerator = safetyclf::cuda::open(*cuda);
                 return std::make_unique<Classifier>(path, options);
             }),
             py::arg("path"), py::kw_only(), py::arg("threads"), py::arg("max_text_bytes"), py::arg("isa"),
             py::arg("max_memory") = 0, py::arg("cuda") = py::none())
        .def_property_readonly("categories",
                               [](const Classifier& c) {
                                   py::list out;
                                   for (const auto& category : c.categories())
                                       out.append(py::make_tuple(category.name, category.coverage));
                                   return out;
                               })
        .def_property_readonly("thresholds",
                               [](const Classifier& c) {
                                   py::list out;
                                   for (const auto& t : c.thresholds())
                                       out.append(py::make_tuple(t.review, t.block));
                                   return out;
                               })
        .def_property_readonly("model_id", &Classifier::model_id)
        .def_property_readonly("metadata", &Classifier::metadata_json)
        .def_property_readonly("isa", &Classifier::isa)
        .def_property_readonly("threads", &Classifier::threads)
        .def_property_readonly("device", &Classifier::device)
        .def_property_readonly("hidden", &Classifier::hidden)
        .def_property_readonly("depths", &Classifier::depths)
        .def(
            "probabilities", [](const Classifier& c, const py::object& texts) { return score(c, texts, -1); },
            py::arg("texts"))
        .def(
            "logits",
            [](const Classifier& c, const py::object& texts, unsigned depth) {
                return score(c, texts, static_cast<int>(depth));
            },
            py::arg("texts"), py::arg("depth"))
        .def("adaptive_probabilities", score_adaptively, py::arg("texts"), py::arg("level"))
        .def_property_readonly("exit_floors", exit_floors)
        .def("verdicts", verdicts, py::arg("texts"), py::arg("thresholds"), py::arg("level"))
        .def("window_probabilities", window_probabilities, py::arg("ids"), py::arg("row_offsets"),
             py::arg("level"))
        .def("pooled", pooled, py::arg("texts"))
        .def("explain", explain, py::arg("text"), py::arg("category"))
        .def("tokenize", tokenize, py::arg("text"))
        .def("normalize", normalize, py::arg("text"));

    py::class_<TermMatcher>(m, "TermMatcher", py::module_local())
        .def(py::init(&term_matcher), py::arg("engine"), py::arg("terms"), py::arg("modes"),
             py::keep_alive<1, 2>())
        .def("find", find_terms, py::arg("texts"));
    safetyclf::binding::bind_batcher(m);

    m.def("build_info", build_info);
    m.attr("ATTACK_KINDS") = py::tuple(py::cast(
        std::vector<std::string_view>(safetyclf::attack::kinds().begin(), safetyclf::attack::kinds().end())));
    m.def("attacked", attacked, py::arg("texts"), py::arg("kind"), py::arg("strength"), py::arg("seed"));
    m.def(
        "strings", [](const py::object& texts) { return Texts(texts).strings(); }, py::arg("texts"));
}
