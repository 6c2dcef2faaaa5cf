// Heads, exits and what puts together the windows that go on, against the scalar CPU kernels and what
// cpp/src/engine/exits.cpp does with them, bit by bit.
#include <algorithm>
#include <limits>
#include <numeric>

#include "windows.hpp"

using namespace safetyclf;
using namespace safetyclf::windows;

namespace {

const kernels::KernelTable& table = kernels::find("scalar");

uint32_t size_of(const Words& lengths) {
    return static_cast<uint32_t>(lengths.size());
}

Words random_lengths(uint32_t windows, uint32_t longest) {
    Words lengths(windows);
    for (uint32_t& length : lengths) length = 1 + below(longest);
    return lengths;
}

// A vector as a buffer that nobody has written holds it.
template <class T>
std::vector<T> untouched(size_t size) {
    return Guarded<T>(size).take(size);
}

// What score and exits read: hidden states and the heads of one depth, and what they make of them.
struct Heads {
    Heads(const Words& lengths, uint32_t hidden, uint32_t classes)
        : hidden(hidden),
          classes(classes),
          x(rows_of_all_kinds(begins(lengths).back(), hidden)),
          weight(reals(size_t{classes} * hidden, 0.5f)),
          bias(reals(classes, 2.0f)),
          exit_weight(reals(hidden, 0.5f)) {
        const Words at = begins(lengths);
        for (size_t w = 0; w < lengths.size(); ++w) {
            const Floats mean = kernel_runner::mean_rows(
                table, slice(x, at[w] * size_t{hidden}, at[w + 1] * size_t{hidden}), hidden);
            const Floats products = kernel_runner::dot_rows(table, mean, weight, hidden);
            for (size_t c = 0; c < classes; ++c) logits.push_back(products[c] + bias[c]);
            exit_scores.push_back(kernel_runner::dot_rows(table, mean, exit_weight, hidden)[0]);
        }
    }

    uint32_t hidden, classes;
    Floats x, weight, bias, exit_weight;
    Floats logits, exit_scores;  // of each window
};

void test_score(const Way& way, const Words& lengths, uint32_t hidden, uint32_t classes) {
    constexpr uint32_t kDepth = 2;
    const Heads heads(lengths, hidden, classes);
    Words head_depth(classes);
    for (uint32_t& depth : head_depth) depth = below(4);
    head_depth[0] = kDepth;
    const size_t size = (lengths.size() + 2) * classes;
    Floats want = untouched<float>(size);
    for (size_t i = 0; i < heads.logits.size(); ++i)
        if (head_depth[i % classes] == kDepth) want[i] = heads.logits[i];

    Device device(lengths);
    Guarded x(heads.x), weight(heads.weight), bias(heads.bias);
    Guarded depths(head_depth);
    Guarded<float> logits(size);
    launch(way, "safetyclf_score",
           cuda::ScoreArgs{device.batch(), x.data(), weight.data(), bias.data(), depths.data(), hidden,
                           classes, kDepth, logits.data()},
           {size_of(lengths)}, cuda::head_shared(hidden, classes));
    check_buffer(logits, size, want);
}

// `broken`: a hidden state is not finite.
void test_exits(const Way& way, const Words& lengths, uint32_t hidden, uint32_t classes, bool last,
                bool broken) {
    constexpr uint32_t kDepth = 3, kGone = 4;  // windows that have left before
    const uint32_t windows = size_of(lengths), all = windows + kGone;
    Heads heads(lengths, hidden, classes);
    Words number(all);
    std::iota(number.begin(), number.end(), 0u);
    std::shuffle(number.begin(), number.end(), rng);
    number.resize(windows);
    const Floats floor = reals(classes, 2.0f), lexical_sum = reals(all, 3.0f);
    const float bias = real(1.0f), lexical = real(1.0f), highest_weight = real(1.0f);

    Floats scores(windows);
    for (size_t w = 0; w < windows; ++w) {
        float highest = -std::numeric_limits<float>::infinity();
        for (size_t c = 0; c < classes; ++c)
            highest = std::max(highest, heads.logits[w * classes + c] - floor[c]);
        scores[w] = heads.exit_scores[w] + bias + lexical * lexical_sum[number[w]] + highest_weight * highest;
    }
    // One of the scores: that window just stays.
    Floats sorted = scores;
    std::sort(sorted.begin(), sorted.end());
    const float threshold = sorted[windows / 2];
    Floats want = untouched<float>(size_t{all} * classes);
    Words left_at = untouched<uint32_t>(all), keep(windows);
    for (uint32_t w = 0; w < windows; ++w) {
        keep[w] = !last && !(scores[w] < threshold) ? 1 : 0;
        if (keep[w] != 0) continue;
        left_at[number[w]] = kDepth;
        std::copy_n(heads.logits.begin() + w * classes, classes, want.begin() + number[w] * classes);
    }
    if (broken)
        heads.x[below(static_cast<uint32_t>(heads.x.size()))] = std::numeric_limits<float>::infinity();

    Device device(lengths);
    Guarded x(heads.x), weight(heads.weight), bias_in(heads.bias), exit_weight(heads.exit_weight),
        floor_in(floor), lexical_in(lexical_sum);
    Guarded number_in(number), not_finite(Words{0});
    Guarded<float> logits(want.size());
    Guarded<uint32_t> left_at_out(all), keep_out(windows + 2);
    launch(way, "safetyclf_exits",
           cuda::ExitArgs{device.batch(), x.data(), weight.data(), bias_in.data(),
                          last ? nullptr : exit_weight.data(), floor_in.data(), bias, lexical, highest_weight,
                          threshold, hidden, classes, kDepth, number_in.data(), lexical_in.data(),
                          logits.data(), left_at_out.data(), keep_out.data(), not_finite.data()},
           {windows}, cuda::head_shared(hidden, classes));
    CHECK(not_finite.take(1)[0] == (broken ? 1u : 0u));
    if (broken) return;
    check_buffer(logits, want.size(), want);
    check_buffer(left_at_out, all, left_at);
    check_buffer(keep_out, windows + 2, keep);
}

// Of 8 windows `share` go on.
void test_compaction(const Way& way, uint32_t windows, uint32_t share, uint32_t hidden) {
    const Words lengths = random_lengths(windows, 40), at = begins(lengths);
    Words keep(windows), number(windows), kept, source, new_number;
    for (uint32_t w = 0; w < windows; ++w) {
        keep[w] = below(8) < share ? 1 : 0;
        number[w] = 3 * w + 1;
        if (keep[w] == 0) continue;
        kept.push_back(lengths[w]);
        source.push_back(at[w]);
        new_number.push_back(number[w]);
    }
    const Words new_begins = begins(kept);
    Device device(lengths);
    Guarded keep_in(keep), number_in(number);
    Guarded<uint32_t> size(2), begins_out(windows + 1), number_out(windows), source_out(windows);
    launch({way.arch, way.order, 0}, "safetyclf_compact",
           cuda::CompactArgs{device.batch(), keep_in.data(), number_in.data(), size.data(), begins_out.data(),
                             number_out.data(), source_out.data()},
           {1});
    check_buffer(size, 2, {size_of(kept), new_begins.back()});
    check_buffer(begins_out, windows + 1, new_begins);
    check_buffer(number_out, windows, new_number);
    check_buffer(source_out, windows, source);
    if (hidden == 0) return;

    Floats x(at.back() * size_t{hidden}), scale(at.back()), want_x, want_scale;
    Bytes q(x.size()), want_q;
    for (size_t i = 0; i < x.size(); ++i) {
        x[i] = static_cast<float>(i);
        q[i] = static_cast<int8_t>(rng() % 251);
    }
    for (float& s : scale) s = real(1.0f);
    for (size_t w = 0; w < kept.size(); ++w) {
        const auto append = [&](auto& to, const auto& from, size_t width) {
            const auto part = slice(from, source[w] * width, (source[w] + kept[w]) * width);
            to.insert(to.end(), part.begin(), part.end());
        };
        append(want_x, x, hidden);
        append(want_q, q, hidden);
        append(want_scale, scale, 1);
    }
    Guarded x_in(x), scale_in(scale);
    Guarded q_in(q);
    Guarded<float> x_out(x.size()), scale_out(scale.size());
    Guarded<int8_t> q_out(q.size());
    launch(way, "safetyclf_gather",
           cuda::GatherArgs{{size.data(), begins_out.data()},
                            source_out.data(),
                            hidden,
                            x_in.data(),
                            {q_in.data(), scale_in.data()},
                            x_out.data(),
                            {q_out.data(), scale_out.data()}},
           {windows});
    check_buffer(x_out, x.size(), want_x);
    check_buffer(q_out, q.size(), want_q);
    check_buffer(scale_out, scale.size(), want_scale);
}

void test_lexical(const Way& way, const Words& lengths) {
    constexpr uint32_t kVocabulary = 30000, kPairs = 1 << 14;
    const Words at = begins(lengths);
    Ints ids(at.back());
    for (int32_t& id : ids) id = static_cast<int32_t>(below(kVocabulary));
    Bytes lexicon(kVocabulary + kPairs);
    for (int8_t& weight : lexicon) weight = static_cast<int8_t>(static_cast<int>(below(255)) - 127);
    const float scale = 0.037f;
    Floats want;
    Words number(lengths.size());
    std::iota(number.begin(), number.end(), 0u);
    for (size_t w = 0; w < lengths.size(); ++w) {
        int32_t sum = 0;
        for (uint32_t i = at[w]; i + 1 < at[w + 1]; ++i) {
            const auto left = static_cast<uint32_t>(ids[i]), right = static_cast<uint32_t>(ids[i + 1]);
            const uint32_t mixed = (left * 0x9E3779B1u) ^ (right * 0x85EBCA77u + 0x61u);
            sum += lexicon[kVocabulary + (mixed ^ mixed >> 15) % kPairs];
            if (i != at[w]) sum += lexicon[left];
        }
        want.push_back(static_cast<float>(sum) * scale / std::sqrt(static_cast<float>(lengths[w])));
    }
    Device device(lengths);
    Guarded ids_in(ids);
    Guarded lexicon_in(lexicon);
    Guarded<float> sum(lengths.size() + 2);
    Guarded<uint32_t> number_out(lengths.size() + 2);
    launch(way, "safetyclf_lexical",
           cuda::LexicalArgs{device.batch(), ids_in.data(), lexicon_in.data(), kVocabulary, kPairs, scale,
                             sum.data(), number_out.data()},
           {size_of(lengths)});
    check_buffer(sum, lengths.size() + 2, want);
    check_buffer(number_out, lengths.size() + 2, number);
}

}  // namespace

int main() {
    Words every_length;
    for (uint32_t length = 1; length <= 70; ++length) every_length.push_back(length);
    each_way([&](const Way& way) {
        test_score(way, every_length, 64, 5);
        test_score(way, {17, 3, 130}, 384, 17);
        test_score(way, {16, 510}, 448, 40);  // more columns than threads, more products than halves of warps
        for (const bool last : {false, true}) {
            test_exits(way, every_length, 64, 5, last, false);
            test_exits(way, {30, 2, 16, 15, 17}, 384, 1, last, false);
            test_exits(way, {30, 200, 12}, 448, 40, last, false);
            test_exits(way, {5, 9}, 64, 33, last, true);
        }
        for (const uint32_t windows : {0u, 1u, 31u, 32u, 33u, 100u})
            for (const uint32_t share : {0u, 1u, 4u, 8u}) test_compaction(way, windows, share, 64);
        test_compaction(way, 20, 5, 384);
        for (const uint32_t windows : {1023u, 1024u, 1025u, 5000u}) test_compaction(way, windows, 4, 0);
        test_lexical(way, every_length);
        test_lexical(way, {130, 1, 2, 510});
    });
}
