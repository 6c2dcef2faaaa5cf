#include "dispatch.hpp"

#include <cstdlib>

#include "cpu_features.h"
#include "safetyclf/error.hpp"
#include "tables.h"

namespace safetyclf::kernels {
namespace {

struct Entry {
    const KernelTable* table;
    bool supported;
};

// Best first.
std::vector<Entry> entries() {
    [[maybe_unused]] const CpuFeatures& cpu = cpu_features();
    return {
#if defined(__x86_64__)
        {&kAvx512Amx, cpu.amx_int8}, {&kAvx512Vnni, cpu.avx512vnni}, {&kAvxVnni, cpu.avxvnni},
            {&kAvx2, cpu.avx2},
#elif defined(__aarch64__)
        {&kNeonI8mm, cpu.neon_i8mm}, {&kNeonDotprod, cpu.neon_dotprod},
#endif
            {&kScalar, true},
    };
}

std::string join(const std::vector<std::string>& names) {
    std::string out;
    for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
    return out;
}

}  // namespace

std::vector<std::string> compiled() {
    std::vector<std::string> names;
    for (const Entry& e : entries()) names.emplace_back(e.table->isa);
    return names;
}

std::vector<std::string> supported() {
    std::vector<std::string> names;
    for (const Entry& e : entries())
        if (e.supported) names.emplace_back(e.table->isa);
    return names;
}

const KernelTable& find(std::string_view isa) {
    for (const Entry& e : entries()) {
        if (isa != e.table->isa) continue;
        if (e.supported) return *e.table;
        throw Error(ErrorCode::unsupported_isa, "this CPU cannot run instruction set '" + std::string(isa) +
                                                    "'; it can run: " + join(supported()));
    }
    throw Error(ErrorCode::unsupported_isa,
                "unknown instruction set '" + std::string(isa) + "'; this build has: " + join(compiled()));
}

const KernelTable& active() {
    const char* forced = std::getenv("SAFETYCLF_ISA");
    if (forced != nullptr && *forced != '\0') return find(forced);
    for (const Entry& e : entries())
        if (e.supported) return *e.table;
    return kScalar;
}

}  // namespace safetyclf::kernels
