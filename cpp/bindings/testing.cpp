// _native_testing: parts of the core that the public module does not show, for tests only.
#include <pybind11/pybind11.h>

void bind_text(pybind11::module_& module);
void bind_kernels(pybind11::module_& module);
void bind_model(pybind11::module_& module);

PYBIND11_MODULE(_native_testing, module) {
    module.doc() = "Parts of the native core, for tests only";
    bind_text(module);
    bind_kernels(module);
    bind_model(module);
}
