// Logits -> calibrated probabilities -> decisions: pure functions over floats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace safetyclf::policy {

enum class Action : std::uint8_t { allow = 0, review = 1, block = 2 };

// Piecewise linear, monotone map from logit to probability: knots with strictly increasing logit in [-1e6,
// 1e6] and non-decreasing probability in [0, 1]. Left of the first knot and right of the last the curve is
// flat.
struct Curve {
    std::vector<float> logit;
    std::vector<float> probability;
};

struct Thresholds {
    float review;  // flagged at or above; in [0, 1], or 2 for "never"
    float block;   // blocked at or above; at least `review`
};

// Throws Error(model_format) when a threshold is out of its range; `category` is its column, for the message.
void check_thresholds(const Thresholds& thresholds, std::size_t category);

class Policy {
public:
    Policy() = default;
    // Throws Error(model_format) on a curve or threshold out of its range.
    Policy(std::vector<Curve> curves, std::vector<Thresholds> thresholds);

    [[nodiscard]] std::size_t categories() const { return curves_.size(); }
    [[nodiscard]] const std::vector<Thresholds>& thresholds() const { return thresholds_; }

    // probabilities[c] = curve c at logits[c]. Throws Error(internal) when a logit is not finite.
    void calibrate(std::span<const float> logits, std::span<float> probabilities) const;

    // flagged[c] = probabilities[c] >= thresholds[c].review, as 0 or 1; returns the strictest action of all
    // categories.
    [[nodiscard]] static Action decide(std::span<const float> probabilities,
                                       std::span<const Thresholds> thresholds,
                                       std::span<std::uint8_t> flagged);

private:
    std::vector<Curve> curves_;
    std::vector<Thresholds> thresholds_;
};

}  // namespace safetyclf::policy
