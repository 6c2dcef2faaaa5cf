// Fuzzes calibration and decision. The input is floats: number of knots, the knots, two thresholds, then
// logits. A policy is refused or keeps its promises: probabilities lie between the first and the last knot's,
// never fall when the logit rises, equal the knots' at the knots; and the action agrees with the flags.
#include "policy/policy.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "safetyclf/error.hpp"

namespace {

using safetyclf::Error;
using safetyclf::ErrorCode;
using safetyclf::policy::Action;
using safetyclf::policy::Curve;
using safetyclf::policy::Policy;
using safetyclf::policy::Thresholds;

void require(bool condition) {
    if (!condition) std::abort();
}

float calibrated(const Policy& policy, float logit) {
    float probability = -1.0f;
    policy.calibrate({&logit, 1}, {&probability, 1});
    return probability;
}

void check_decision(float probability, Thresholds thresholds) {
    std::uint8_t flagged = 2;
    const Action action = Policy::decide({&probability, 1}, {&thresholds, 1}, {&flagged, 1});
    require(flagged == (probability >= thresholds.review ? 1 : 0));
    const Action expected = probability >= thresholds.block ? Action::block
                            : flagged                       ? Action::review
                                                            : Action::allow;
    require(action == expected);
}

void check(const Policy& policy, const Curve& curve, Thresholds thresholds, std::vector<float> logits) {
    for (std::size_t i = 0; i < curve.logit.size(); ++i) {
        require(calibrated(policy, curve.logit[i]) == curve.probability[i]);
        // Neighbours of the knots are where rounding could break the order.
        logits.push_back(curve.logit[i]);
        logits.push_back(std::nextafter(curve.logit[i], -INFINITY));
        logits.push_back(std::nextafter(curve.logit[i], INFINITY));
    }
    std::sort(logits.begin(), logits.end());
    float before = curve.probability.front();
    for (const float logit : logits) {
        const float probability = calibrated(policy, logit);
        require(probability >= before && probability <= curve.probability.back());
        check_decision(probability, thresholds);
        before = probability;
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 1) return 0;
    std::vector<float> values((size - 1) / sizeof(float));
    if (!values.empty()) std::memcpy(values.data(), data + 1, values.size() * sizeof(float));
    const std::size_t knots = data[0] % 17;
    if (values.size() < 2 * knots + 2) return 0;
    const auto at = values.begin();
    const auto n = static_cast<std::ptrdiff_t>(knots);
    Curve curve{.logit = {at, at + n}, .probability = {at + n, at + 2 * n}};
    const Thresholds thresholds{.review = at[2 * n], .block = at[2 * n + 1]};
    std::vector<float> logits(at + 2 * n + 2, values.end());
    std::erase_if(logits, [](float x) { return !std::isfinite(x); });
    try {
        const Policy policy({curve}, {thresholds});
        check(policy, curve, thresholds, std::move(logits));
    } catch (const Error& error) {
        require(error.code() == ErrorCode::model_format);
    }
    return 0;
}
