// The batcher for an event loop: requests go in, a descriptor becomes readable, answers come out as verdicts.
// And what writes their scores.
#include <pybind11/stl.h>

#include <array>
#include <charconv>
#include <chrono>
#include <cstring>

#include "engine/batcher.hpp"
#include "native_texts.hpp"

namespace safetyclf::binding {
namespace {

using engine::Batcher;
using Seconds = std::chrono::duration<double>;

struct VerdictRequest : engine::Request {
    std::vector<policy::Thresholds> thresholds;
    std::vector<std::size_t> repaired;
};

std::uint64_t submit(Batcher& batcher, const py::handle& sequence, std::string_view thresholds,
                     std::optional<std::size_t> level) {
    const Texts texts(sequence);
    auto request = std::make_unique<VerdictRequest>();
    request->texts.assign(texts.views().begin(), texts.views().end());
    request->repaired = texts.repaired();
    request->thresholds = thresholds_of(thresholds, batcher.classifier().categories().size());
    request->level = level;
    return batcher.submit(std::move(request));
}

py::object exception_of(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const Error& e) {
        restore_error(class_of(e.code()), e.what());
    } catch (const std::exception& e) {
        restore_error("InternalError", e.what());
    }
    return py::error_already_set().value();
}

// ([(number, states or an exception, depths, tokens, seconds waited)], [(requests, texts, tokens, seconds)])
py::tuple take(Batcher& batcher) {
    std::vector<engine::BatchReport> reports;
    py::list answers, batches;
    for (const auto& done : batcher.take(reports)) {
        const auto& request = static_cast<const VerdictRequest&>(*done);
        py::object answer = request.error ? exception_of(request.error)
                                          : states(request.probabilities, request.thresholds, request.windows,
                                                   request.repaired);
        answers.append(py::make_tuple(request.id, std::move(answer), request.depths, request.tokens,
                                      Seconds(request.waited).count()));
    }
    for (const auto& [requests, texts, tokens, took] : reports)
        batches.append(py::make_tuple(requests, texts, tokens, Seconds(took).count()));
    return py::make_tuple(std::move(answers), std::move(batches));
}

// Text with places for scores: pieces, each with the column of the score behind it, and what follows the
// last.
struct Form {
    std::vector<std::pair<std::string, std::size_t>> pieces;
    std::string rest;

    // Nine digits tell any two float32 values apart.
    [[nodiscard]] std::string fill(std::string_view row) const {
        std::string out;
        for (const auto& [piece, column] : pieces) {
            float score = 0;
            if (column >= row.size() / sizeof score)
                throw Error(ErrorCode::invalid_argument, "the row is too short for the form");
            std::memcpy(&score, row.data() + column * sizeof score, sizeof score);
            std::array<char, 16> digits;  // a sign, nine, a point and an exponent
            const auto end =
                std::to_chars(digits.begin(), digits.end(), score, std::chars_format::general, 9);
            out.append(piece).append(digits.data(), end.ptr);
        }
        out += rest;
        return out;
    }
};

}  // namespace

void bind_batcher(py::module_& m) {
    py::class_<Batcher>(m, "Batcher", py::module_local())
        .def(py::init([](const Classifier& classifier, std::size_t batch_tokens, double max_wait,
                         std::size_t queue_requests, std::size_t queue_bytes) {
                 const auto wait = std::chrono::duration_cast<std::chrono::microseconds>(Seconds(max_wait));
                 return std::make_unique<Batcher>(
                     classifier, engine::BatchLimits{batch_tokens, wait, queue_requests, queue_bytes});
             }),
             py::keep_alive<1, 2>(), py::arg("engine"), py::kw_only(), py::arg("batch_tokens"),
             py::arg("max_wait"), py::arg("queue_requests"), py::arg("queue_bytes"))
        .def("submit", submit, py::arg("texts"), py::arg("thresholds"), py::arg("level"))
        .def("cancel", &Batcher::cancel, py::arg("number"))
        .def("take", take)
        .def("fileno", &Batcher::ready_fd)
        .def_property_readonly("waiting", &Batcher::waiting)
        .def("close", &Batcher::close, py::call_guard<py::gil_scoped_release>());
    py::class_<Form>(m, "Form", py::module_local())
        .def(py::init<std::vector<std::pair<std::string, std::size_t>>, std::string>(), py::arg("pieces"),
             py::arg("rest"))
        .def("fill", &Form::fill, py::arg("row"));
}

}  // namespace safetyclf::binding
