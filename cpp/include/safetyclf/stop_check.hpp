#pragma once

#include <functional>

namespace safetyclf {

// Asked now and then by the calling thread during a long call; true stops it with Error(cancelled).
using StopCheck = std::function<bool()>;

}  // namespace safetyclf
