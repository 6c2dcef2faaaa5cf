// Every entry of every kernel table, for tests only: numpy arrays in and out. Activations are signed here,
// whatever the table stores.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "../../tests/cpp/kernel_runner.hpp"
#include "dispatch.hpp"

namespace py = pybind11;
namespace runner = safetyclf::kernel_runner;
using safetyclf::kernels::find;

namespace {

// Converts no dtype: a test that passes float64 would not test what it says.
template <class T>
using Array = py::array_t<T, py::array::c_style>;

template <class T>
std::vector<T> values(const Array<T>& array) {
    return {array.data(), array.data() + array.size()};
}

template <class T>
py::array_t<T> matrix(const std::vector<T>& data, py::ssize_t columns) {
    const py::ssize_t rows = static_cast<py::ssize_t>(data.size()) / columns;
    return py::array_t<T>(std::vector<py::ssize_t>{rows, columns}, data.data());
}

template <class T>
py::array_t<T> vector(const std::vector<T>& data) {
    return py::array_t<T>(static_cast<py::ssize_t>(data.size()), data.data());
}

template <class T>
std::size_t length(const Array<T>& array, int axis) {
    return static_cast<std::size_t>(array.shape(axis));
}

void require(bool condition, const char* rule) {
    if (!condition) throw std::invalid_argument(rule);
}

py::array_t<std::int32_t> gemm(const std::string& isa, const Array<std::int8_t>& a,
                               const Array<std::int8_t>& w, std::size_t shift) {
    require(a.ndim() == 2 && w.ndim() == 2 && a.shape(1) == w.shape(1), "a [m, k], w [n, k]");
    const std::size_t m = length(a, 0), n = length(w, 0), k = length(a, 1);
    require(n % 16 == 0 && k % 64 == 0, "n must be a multiple of 16, k of 64");
    return matrix(runner::gemm(find(isa), values(a), values(w), m, n, k, shift), w.shape(0));
}

py::array_t<float> embed(const std::string& isa, const Array<std::int32_t>& ids,
                         const Array<std::uint32_t>& position, const Array<std::int8_t>& words,
                         const Array<float>& word_scale, const Array<float>& positions,
                         const Array<float>& gamma, const Array<float>& beta, float epsilon) {
    return matrix(runner::embed(find(isa), values(ids), values(position), values(words), values(word_scale),
                                values(positions), {values(gamma), values(beta), epsilon}),
                  gamma.size());
}

py::tuple quantize(const std::string& isa, const Array<float>& x, const Array<float>& inverse_smooth) {
    const runner::Quantized out = runner::quantize(find(isa), values(x), values(inverse_smooth));
    return py::make_tuple(matrix(out.q, inverse_smooth.size()), vector(out.scale));
}

py::tuple split_qkv(const std::string& isa, const Array<std::int32_t>& acc, const Array<float>& row_scale,
                    const Array<float>& column_scale, const Array<float>& bias, std::size_t heads) {
    const runner::Qkv out = runner::split_qkv(find(isa), values(acc), values(row_scale),
                                              {values(column_scale), values(bias)}, heads);
    const py::ssize_t hidden = bias.size() / 3, head_count = static_cast<py::ssize_t>(heads);
    return py::make_tuple(matrix(out.q.q, hidden), matrix(out.q.scale, head_count), matrix(out.k.q, hidden),
                          matrix(out.k.scale, head_count), matrix(out.v, hidden));
}

py::array_t<float> attention(const std::string& isa, const Array<std::int8_t>& q, const Array<float>& q_scale,
                             const Array<std::int8_t>& k, const Array<float>& k_scale, const Array<float>& v,
                             bool in_place) {
    require(q.ndim() == 2 && q_scale.ndim() == 2 && q.shape(1) % q_scale.shape(1) == 0,
            "q [L, heads * D], q_scale [L, heads]");
    const std::size_t heads = length(q_scale, 1);
    return matrix(
        runner::attention(find(isa), {{values(q), values(q_scale)}, {values(k), values(k_scale)}, values(v)},
                          heads, length(q, 1) / heads, in_place),
        v.shape(1));
}

py::array_t<float> add_norm(const std::string& isa, const Array<float>& x, const Array<std::int32_t>& acc,
                            const Array<float>& row_scale, const Array<float>& column_scale,
                            const Array<float>& bias, const Array<float>& gamma, const Array<float>& beta,
                            float epsilon) {
    return matrix(
        runner::add_norm(find(isa), values(x), values(acc), values(row_scale),
                         {values(column_scale), values(bias)}, {values(gamma), values(beta), epsilon}),
        gamma.size());
}

py::tuple gelu_quantize(const std::string& isa, const Array<std::int32_t>& acc, const Array<float>& row_scale,
                        const Array<float>& column_scale, const Array<float>& bias,
                        const Array<float>& inverse_smooth) {
    const runner::Quantized out =
        runner::gelu_quantize(find(isa), values(acc), values(row_scale), {values(column_scale), values(bias)},
                              values(inverse_smooth));
    return py::make_tuple(matrix(out.q, bias.size()), vector(out.scale));
}

py::array_t<float> mean_rows(const std::string& isa, const Array<float>& x) {
    return vector(runner::mean_rows(find(isa), values(x), length(x, 1)));
}

py::array_t<float> dot_rows(const std::string& isa, const Array<float>& x, const Array<float>& w) {
    return matrix(runner::dot_rows(find(isa), values(x), values(w), length(x, 1)), w.shape(0));
}

}  // namespace

void bind_kernels(py::module_& parent) {
    py::module_ module =
        parent.def_submodule("kernels", "the kernel tables; the first argument of each entry names one");
    module.def("compiled", &safetyclf::kernels::compiled, "names of the tables in this build, best first");
    module.def("supported", &safetyclf::kernels::supported, "those that this CPU can run");
    module.def(
        "active", [] { return std::string(safetyclf::kernels::active().isa); },
        "the table that dispatch chooses now");
    module.def(
        "find", [](const std::string& isa) { return std::string(find(isa).isa); }, py::arg("isa"));
    module.def("gemm", &gemm, py::arg("isa"), py::arg("a"), py::arg("w"), py::arg("shift") = 0,
               "int32 [m, n] of int8 a [m, k] and w [n, k]; shift displaces buffers by that many elements");
    module.def("embed", &embed, py::arg("isa"), py::arg("ids"), py::arg("position"), py::arg("words"),
               py::arg("word_scale"), py::arg("positions"), py::arg("gamma"), py::arg("beta"),
               py::arg("epsilon"));
    module.def("quantize", &quantize, py::arg("isa"), py::arg("x"), py::arg("inverse_smooth"),
               "(int8 like x, scale per row)");
    module.def("split_qkv", &split_qkv, py::arg("isa"), py::arg("acc"), py::arg("row_scale"),
               py::arg("column_scale"), py::arg("bias"), py::arg("heads"),
               "(q, q_scale [rows, heads], k, k_scale, v)");
    module.def("attention", &attention, py::arg("isa"), py::arg("q"), py::arg("q_scale"), py::arg("k"),
               py::arg("k_scale"), py::arg("v"), py::arg("in_place") = false,
               "float32 [L, heads * D]; in_place lets out be v");
    module.def("add_norm", &add_norm, py::arg("isa"), py::arg("x"), py::arg("acc"), py::arg("row_scale"),
               py::arg("column_scale"), py::arg("bias"), py::arg("gamma"), py::arg("beta"),
               py::arg("epsilon"));
    module.def("gelu_quantize", &gelu_quantize, py::arg("isa"), py::arg("acc"), py::arg("row_scale"),
               py::arg("column_scale"), py::arg("bias"), py::arg("inverse_smooth"),
               "(int8 like acc, scale per row)");
    module.def("mean_rows", &mean_rows, py::arg("isa"), py::arg("x"));
    module.def("dot_rows", &dot_rows, py::arg("isa"), py::arg("x"), py::arg("w"));
}
