#include "policy/policy.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "safetyclf/error.hpp"

namespace safetyclf::policy {
namespace {

constexpr float kMaxKnotLogit = 1e6f;  // differences of knots stay finite
constexpr float kNever = 2.0f;

[[noreturn]] void fail(std::size_t category, const char* what) {
    throw Error(ErrorCode::model_format, "category " + std::to_string(category) + ": " + what);
}

bool in_unit(float x) {
    return x >= 0.0f && x <= 1.0f;
}

void check_curve(const Curve& curve, std::size_t category) {
    if (curve.logit.size() != curve.probability.size())
        fail(category, "calibration needs one probability per knot");
    if (curve.logit.empty()) fail(category, "calibration needs at least one knot");
    for (std::size_t i = 0; i < curve.logit.size(); ++i) {
        if (!(std::fabs(curve.logit[i]) <= kMaxKnotLogit))
            fail(category, "calibration logit outside [-1e6, 1e6]");
        if (!in_unit(curve.probability[i])) fail(category, "calibration probability outside [0, 1]");
        if (i == 0) continue;
        if (curve.logit[i] <= curve.logit[i - 1]) fail(category, "calibration logits must increase strictly");
        if (curve.probability[i] < curve.probability[i - 1]) {
            fail(category, "calibration probabilities must not decrease");
        }
    }
}

// The order of operations is part of the file format: docs/model-format.md, section 6.
float interpolate(const Curve& curve, float x) {
    const std::vector<float>& knots = curve.logit;
    const auto above = std::upper_bound(knots.begin(), knots.end(), x);
    if (above == knots.begin()) return curve.probability.front();
    if (above == knots.end()) return curve.probability.back();
    const auto i = static_cast<std::size_t>(above - knots.begin()) - 1;
    const float low = curve.probability[i];
    const float high = curve.probability[i + 1];
    const float t = (x - knots[i]) / (knots[i + 1] - knots[i]);
    const float p = low + t * (high - low);
    return std::min(std::max(p, low), high);
}

}  // namespace

Policy::Policy(std::vector<Curve> curves, std::vector<Thresholds> thresholds)
    : curves_(std::move(curves)), thresholds_(std::move(thresholds)) {
    if (curves_.size() != thresholds_.size()) {
        throw Error(ErrorCode::model_format,
                    "calibration and thresholds have different numbers of categories");
    }
    for (std::size_t c = 0; c < curves_.size(); ++c) {
        check_curve(curves_[c], c);
        check_thresholds(thresholds_[c], c);
    }
}

void check_thresholds(const Thresholds& thresholds, std::size_t category) {
    for (const float value : {thresholds.review, thresholds.block}) {
        if (!in_unit(value) && value != kNever) fail(category, "threshold neither in [0, 1] nor 2 (never)");
    }
    if (thresholds.block < thresholds.review) fail(category, "block threshold below the review threshold");
}

void Policy::calibrate(std::span<const float> logits, std::span<float> probabilities) const {
    if (logits.size() != curves_.size() || probabilities.size() != curves_.size()) {
        throw Error(ErrorCode::internal, "calibrate: one logit and one probability per category");
    }
    for (std::size_t c = 0; c < curves_.size(); ++c) {
        if (!std::isfinite(logits[c])) throw Error(ErrorCode::internal, "calibrate: a logit is not finite");
        probabilities[c] = interpolate(curves_[c], logits[c]);
    }
}

Action Policy::decide(std::span<const float> probabilities, std::span<const Thresholds> thresholds,
                      std::span<std::uint8_t> flagged) {
    if (thresholds.size() != probabilities.size() || flagged.size() != probabilities.size()) {
        throw Error(ErrorCode::internal, "decide: one threshold pair and one flag per probability");
    }
    Action strictest = Action::allow;
    for (std::size_t c = 0; c < probabilities.size(); ++c) {
        const bool review = probabilities[c] >= thresholds[c].review;
        const bool block = probabilities[c] >= thresholds[c].block;
        flagged[c] = review ? 1 : 0;
        const Action action = block ? Action::block : review ? Action::review : Action::allow;
        strictest = std::max(strictest, action);
    }
    return strictest;
}

}  // namespace safetyclf::policy
