// The model file reader, the policy core and SHA-256, for tests only. Errors: model_io is OSError,
// model_format ValueError.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "dispatch.hpp"
#include "model/model.hpp"
#include "model/sha256.hpp"
#include "policy/policy.hpp"
#include "safetyclf/error.hpp"

namespace py = pybind11;

namespace {

using namespace safetyclf;

template <typename T>
py::array_t<T> copy(const T* data, std::vector<std::size_t> shape) {
    return py::array_t<T>(std::vector<py::ssize_t>(shape.begin(), shape.end()), data);
}

template <typename Call>
auto translated(Call call) {
    try {
        return call();
    } catch (const Error& error) {
        PyObject* const type = error.code() == ErrorCode::model_io       ? PyExc_OSError
                               : error.code() == ErrorCode::model_format ? PyExc_ValueError
                                                                         : PyExc_RuntimeError;
        PyErr_SetString(type, error.what());
        throw py::error_already_set();
    }
}

py::dict norm_to_dict(const kernels::Norm& norm, std::size_t hidden) {
    py::dict out;
    out["gamma"] = copy(norm.gamma, {hidden});
    out["beta"] = copy(norm.beta, {hidden});
    out["epsilon"] = norm.epsilon;
    return out;
}

py::dict linear_to_dict(const kernels::Linear& linear, const kernels::KernelTable& table) {
    py::dict out;
    out["packed"] = copy(linear.packed, {table.packed_size(linear.n, linear.k)});
    out["scale"] = copy(linear.column_scale, {linear.n});
    out["bias"] = copy(linear.bias, {linear.n});
    out["inverse_smooth"] = copy(linear.inverse_smooth, {linear.k});
    return out;
}

py::dict model_to_dict(const model::Model& m) {
    const model::Architecture& a = m.architecture;
    py::dict out;
    out["id"] = m.id;
    out["metadata_json"] = m.metadata_json;
    out["isa"] = m.table->isa;
    out["architecture"] =
        py::dict(py::arg("hidden") = a.hidden, py::arg("layers") = a.layers, py::arg("heads") = a.heads,
                 py::arg("intermediate") = a.intermediate, py::arg("positions") = a.positions,
                 py::arg("vocabulary") = a.vocabulary, py::arg("norm_epsilon") = a.norm_epsilon);
    out["words"] = copy(m.words, {a.vocabulary, a.hidden});
    out["word_scale"] = copy(m.word_scale, {a.vocabulary});
    out["positions"] = copy(m.positions, {a.positions, a.hidden});
    out["embedding_norm"] = norm_to_dict(m.embedding_norm, a.hidden);
    py::list layers;
    for (const model::Layer& layer : m.layers) {
        py::dict entry;
        entry["qkv"] = linear_to_dict(layer.qkv, *m.table);
        entry["attention_output"] = linear_to_dict(layer.attention_output, *m.table);
        entry["ffn_in"] = linear_to_dict(layer.ffn_in, *m.table);
        entry["ffn_out"] = linear_to_dict(layer.ffn_out, *m.table);
        entry["attention_norm"] = norm_to_dict(layer.attention_norm, a.hidden);
        entry["ffn_norm"] = norm_to_dict(layer.ffn_norm, a.hidden);
        layers.append(entry);
    }
    out["layers"] = layers;
    std::vector<std::pair<std::string, std::string>> categories;
    for (const model::Category& c : m.categories) categories.emplace_back(c.name, c.coverage);
    out["categories"] = categories;
    if (m.head_weight != nullptr) {
        out["head_weight"] = copy(m.head_weight, {a.layers + 1, m.categories.size(), a.hidden});
        out["head_bias"] = copy(m.head_bias, {a.layers + 1, m.categories.size()});
    }
    out["policy_categories"] = m.policy.categories();
    std::vector<std::pair<float, float>> thresholds;
    for (const policy::Thresholds& t : m.policy.thresholds()) thresholds.emplace_back(t.review, t.block);
    out["thresholds"] = thresholds;
    out["vocabulary_size"] = m.tokenizer->vocabulary_size();
    return out;
}

using FloatArray = py::array_t<float, py::array::c_style | py::array::forcecast>;

std::vector<policy::Thresholds> to_thresholds(const std::vector<std::pair<float, float>>& pairs) {
    std::vector<policy::Thresholds> out;
    for (const auto& [review, block] : pairs) out.push_back({review, block});
    return out;
}

policy::Policy make_policy(const std::vector<std::pair<std::vector<float>, std::vector<float>>>& curves,
                           const std::vector<std::pair<float, float>>& thresholds) {
    std::vector<policy::Curve> out;
    for (const auto& [logit, probability] : curves) out.push_back({logit, probability});
    return translated([&] { return policy::Policy(std::move(out), to_thresholds(thresholds)); });
}

// logits [rows, categories] -> probabilities of the same shape.
FloatArray calibrate(const policy::Policy& policy, const FloatArray& logits) {
    if (logits.ndim() != 2) throw py::value_error("logits must have two dimensions");
    FloatArray out({logits.shape(0), logits.shape(1)});
    const auto columns = static_cast<std::size_t>(logits.shape(1));
    for (py::ssize_t row = 0; row < logits.shape(0); ++row) {
        translated([&] {
            policy.calibrate({logits.data(row, 0), columns}, {out.mutable_data(row, 0), columns});
        });
    }
    return out;
}

py::tuple decide(const std::vector<float>& probabilities,
                 const std::vector<std::pair<float, float>>& thresholds) {
    std::vector<std::uint8_t> flagged(probabilities.size());
    const policy::Action action =
        translated([&] { return policy::Policy::decide(probabilities, to_thresholds(thresholds), flagged); });
    constexpr const char* kNames[] = {"allow", "review", "block"};
    return py::make_tuple(kNames[static_cast<std::size_t>(action)],
                          std::vector<bool>(flagged.begin(), flagged.end()));
}

std::string hash_with(const py::bytes& data, const std::string& implementation) {
    const std::string_view view = data;
    for (const model::Sha256Implementation& candidate : model::sha256_implementations()) {
        if (candidate.name == implementation) {
            return model::sha256(std::as_bytes(std::span<const char>(view.data(), view.size())), candidate);
        }
    }
    throw py::value_error("no such SHA-256 implementation here: " + implementation);
}

}  // namespace

void bind_model(py::module_& module) {
    module.attr("numerics_revision") = kernels::kNumericsRevision;
    module.def(
        "load_model",
        [](const py::bytes& path, const std::string& isa) {
            return translated([&] { return model_to_dict(*model::Model::load(path, kernels::find(isa))); });
        },
        py::arg("path"), py::arg("isa") = "scalar", "everything that was read, as a dict of copies");
    module.def(
        "parse_model",
        [](const py::bytes& data, const std::string& isa) {
            const std::string_view view = data;
            return translated([&] {
                return model_to_dict(
                    *model::Model::parse(std::as_bytes(std::span<const char>(view.data(), view.size())),
                                         "memory", kernels::find(isa)));
            });
        },
        py::arg("data"), py::arg("isa") = "scalar");
    module.def(
        "model_id",
        [](const py::bytes& path, const std::string& isa) {
            return translated([&] { return model::Model::load(path, kernels::find(isa))->id; });
        },
        py::arg("path"), py::arg("isa"),
        "loads, drops and returns the id: for timing and for tests that need no content");

    module.def("sha256", &hash_with, py::arg("data"), py::arg("implementation"));
    module.def("sha256_implementations", [] {
        std::vector<std::string> names;
        for (const model::Sha256Implementation& each : model::sha256_implementations())
            names.emplace_back(each.name);
        return names;
    });

    py::class_<policy::Policy>(module, "Policy")
        .def(py::init(&make_policy), py::arg("curves"), py::arg("thresholds"),
             "curves: per category (logits, probabilities); thresholds: per category (review, block)")
        .def("calibrate", &calibrate, py::arg("logits"));
    module.def("decide", &decide, py::arg("probabilities"), py::arg("thresholds"));
}
