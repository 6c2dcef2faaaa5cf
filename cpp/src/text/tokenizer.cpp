#include "tokenizer.hpp"

#include <algorithm>
#include <limits>

#include "bert.hpp"
#include "rules.hpp"
#include "safetyclf/error.hpp"
#include "stop_points.hpp"
#include "wordpiece.hpp"

namespace safetyclf::text {
namespace {

constexpr std::size_t kMaxOffset = std::numeric_limits<std::uint32_t>::max();

// No rule makes more of a byte that is not ASCII: U+1FAF0, four bytes, is named in 42. ASCII does not grow.
constexpr std::size_t kMostGrowthTimes2 = 21;

void require_offset(std::size_t size, const char* message) {
    if (size > kMaxOffset) throw Error(ErrorCode::input_too_large, message);
}

// Sizes of the windows of one text of more pieces than fit into one window.
struct WindowPlan {
    WindowPlan(std::size_t pieces, std::size_t window, std::size_t overlap)
        : count((pieces - overlap + window - overlap - 1) / (window - overlap)),
          total(pieces + (count - 1) * overlap),
          overlap(overlap) {}

    // Where window k begins among the pieces of all windows (shared pieces counted as often as they occur).
    [[nodiscard]] std::size_t packed_begin(std::size_t k) const {
        return k * (total / count) + std::min(k, total % count);
    }
    // Where window k begins in the text.
    [[nodiscard]] std::size_t text_begin(std::size_t k) const { return packed_begin(k) - k * overlap; }

    std::size_t count;
    std::size_t total;
    std::size_t overlap;
};

// Turns [first] piece ... piece [last] at the end of `values` into the windows of `plan`, each between a
// first and a last. In place: the last window moves first, and none moves over pieces that an earlier one
// still needs.
template <typename T>
void spread(std::vector<T>& values, std::size_t begin, const WindowPlan& plan, StopPoints& stop) {
    const T first = values[begin];
    const T last = values.back();
    values.resize(begin + plan.total + 2 * plan.count);
    for (std::size_t k = plan.count; k-- > 0;) {
        const std::size_t size = plan.packed_begin(k + 1) - plan.packed_begin(k);
        stop.pass(size);
        T* const source = values.data() + begin + 1 + plan.text_begin(k);
        T* const target = values.data() + begin + 1 + plan.packed_begin(k) + 2 * k;
        std::copy_backward(source, source + size, target + size);
        target[-1] = first;
        target[size] = last;
    }
}

}  // namespace

void RaggedBatch::clear() {
    ids.clear();
    row_offsets.clear();
    text_offsets.clear();
    begins.clear();
    ends.clear();
}

struct Tokenizer::Impl {
    explicit Impl(const TokenizerConfig& config)
        : wordpiece(config.vocabulary),
          rules(config.rules, wordpiece),
          bert(wordpiece, config.lowercase),
          window(config.window_tokens),
          overlap(config.overlap_tokens),
          has_rules(!config.rules.empty()) {
        if (overlap >= window)
            throw Error(ErrorCode::model_format, "the overlap of windows must be below their size");
    }

    // Appends the windows of one text.
    void encode(std::string_view text, bool with_offsets, RaggedBatch& out, StopPoints& stop) const {
        const std::size_t begin = out.ids.size();
        const auto size = static_cast<std::uint32_t>(text.size());
        const PieceSink sink{&out.ids, with_offsets ? &out.begins : nullptr,
                             with_offsets ? &out.ends : nullptr};
        sink.add(wordpiece.start_id(), {0, 0});
        if (rules.concerns(text, stop)) {
            const MappedText& mapped = rules.apply(text, out.scratch, stop);
            bert.encode(mapped.bytes, sink, stop);
            if (with_offsets) {
                for (std::size_t i = begin + 1; i < out.begins.size(); ++i) {
                    stop.pass(1);
                    out.begins[i] = mapped.ranges[out.begins[i]].begin;
                    out.ends[i] = mapped.ranges[out.ends[i] - 1].end;
                }
            }
        } else {
            bert.encode(text, sink, stop);
        }
        const std::size_t pieces = out.ids.size() - begin - 1;
        sink.add(wordpiece.end_id(), {size, size});

        if (pieces <= window) {
            finish_window(out.ids.size(), out);
        } else {
            const WindowPlan plan(pieces, window, overlap);
            require_offset(begin + plan.total + 2 * plan.count, "a batch has 2^32 ids or more");
            spread(out.ids, begin, plan, stop);
            if (with_offsets) {
                spread(out.begins, begin, plan, stop);
                spread(out.ends, begin, plan, stop);
            }
            for (std::size_t k = 1; k <= plan.count; ++k)
                finish_window(begin + plan.packed_begin(k) + 2 * k, out);
        }
        out.text_offsets.push_back(static_cast<std::uint32_t>(out.windows()));
    }

    static void finish_window(std::size_t end, RaggedBatch& out) {
        require_offset(end, "a batch has 2^32 ids or more");
        out.row_offsets.push_back(static_cast<std::uint32_t>(end));
    }

    WordPiece wordpiece;
    RuleList rules;
    BertEncoder bert;
    std::size_t window;
    std::size_t overlap;
    bool has_rules;
};

Tokenizer::Tokenizer(const TokenizerConfig& config) : impl_(std::make_unique<const Impl>(config)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

void Tokenizer::encode(std::span<const std::string_view> texts, bool with_offsets, RaggedBatch& out,
                       const StopCheck& stop) const {
    if (out.row_offsets.empty()) out.row_offsets.push_back(0);
    if (out.text_offsets.empty()) out.text_offsets.push_back(0);
    StopPoints stop_points(stop);
    try {
        for (const std::string_view text : texts) {
            require_offset(text.size(), "a text has 4 GiB or more");
            impl_->encode(text, with_offsets, out, stop_points);
        }
    } catch (...) {
        out.clear();
        throw;
    }
}

Tokenizer::Room Tokenizer::room(std::size_t bytes, std::size_t not_ascii) const {
    const std::size_t mapped =
        impl_->has_rules ? bytes - not_ascii + (not_ascii * kMostGrowthTimes2 + 1) / 2 : 0;
    const std::size_t pieces = std::max(bytes, mapped);  // a piece has at least one byte
    if (pieces <= impl_->window) return {mapped, pieces + 2, 1};
    const WindowPlan plan(pieces, impl_->window, impl_->overlap);
    return {mapped, plan.total + 2 * plan.count, plan.count};
}

std::size_t Tokenizer::Room::bytes(bool with_offsets) const {
    return 2 * mapped * (1 + sizeof(ByteRange)) + mapped +
           ids * sizeof(std::int32_t) * (with_offsets ? 3 : 1) + windows * sizeof(std::uint32_t);
}

void Tokenizer::reserve(std::span<const std::string_view> texts, bool with_offsets, RaggedBatch& out) const {
    Room all{};
    for (const std::string_view text : texts) {
        const Room one = room(text.size(), count_not_ascii(text));
        all = {std::max(all.mapped, one.mapped), all.ids + one.ids, all.windows + one.windows};
    }
    for (MappedText* mapped : {&out.scratch.first, &out.scratch.second}) {
        mapped->bytes.reserve(all.mapped);
        mapped->ranges.reserve(all.mapped);
    }
    out.scratch.pieces.reserve(all.mapped);
    out.ids.reserve(all.ids);
    out.row_offsets.reserve(all.windows + 1);
    out.text_offsets.reserve(texts.size() + 1);
    if (!with_offsets) return;
    out.begins.reserve(all.ids);
    out.ends.reserve(all.ids);
}

std::size_t count_not_ascii(std::string_view text) {
    return static_cast<std::size_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return (c & 0x80) != 0; }));
}

void Tokenizer::normalize(std::string_view text, std::string& out, std::vector<std::uint32_t>& origin,
                          const StopCheck& stop) const {
    require_offset(text.size(), "a text has 4 GiB or more");
    StopPoints stop_points(stop);
    RuleScratch scratch;
    const MappedText& mapped = impl_->rules.apply(text, scratch, stop_points);
    out.assign(mapped.bytes);
    origin.clear();
    for (const ByteRange range : mapped.ranges) {
        stop_points.pass(1);
        origin.push_back(range.begin);
    }
    origin.push_back(static_cast<std::uint32_t>(text.size()));
}

const MappedText* Tokenizer::apply_rules(std::string_view text, RuleScratch& scratch,
                                         StopPoints& stop) const {
    return impl_->rules.concerns(text, stop) ? &impl_->rules.apply(text, scratch, stop) : nullptr;
}

std::size_t Tokenizer::vocabulary_size() const {
    return impl_->wordpiece.vocabulary_size();
}

bool Tokenizer::continues_word(std::int32_t id) const {
    return impl_->wordpiece.continues_word(id);
}

}  // namespace safetyclf::text
