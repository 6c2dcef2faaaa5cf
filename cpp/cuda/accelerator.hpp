// What the rest of the library sees of this folder.
#pragma once

#include <functional>
#include <memory>

#include "engine/accelerator.hpp"
#include "model/model.hpp"

namespace safetyclf::cuda {

using AcceleratorFactory = std::function<std::unique_ptr<engine::Accelerator>(const model::Model&)>;

// Opens a GPU by its number and loads the kernels; the result, for Options::accelerator, then takes a model
// there. Both throw Error(device) with what is missing and what to do about it.
[[nodiscard]] AcceleratorFactory open(unsigned number);

}  // namespace safetyclf::cuda
