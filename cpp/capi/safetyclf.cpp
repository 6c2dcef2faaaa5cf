// The C interface over Classifier: checks of arguments, no logic of its own but for which rules for leaving
// early apply. safetyclf.h is the contract.
#include "safetyclf/safetyclf.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "policy/policy.hpp"
#include "safetyclf/classifier.hpp"

using safetyclf::Classifier;
using safetyclf::Error;
using safetyclf::ErrorCode;
using safetyclf::policy::Policy;

struct safetyclf_classifier {
    std::uint64_t mark;  // kOpen while it may be used
    int32_t effort;
    Classifier classifier;
    std::vector<safetyclf::policy::Thresholds> thresholds;
    std::vector<float> floors;  // [levels, categories]
};

namespace {

constexpr std::uint64_t kOpen = 0x53414645434C4631;

int32_t code_of(ErrorCode code) {
    switch (code) {
        case ErrorCode::invalid_argument:
            return SAFETYCLF_INVALID_ARGUMENT;
        case ErrorCode::input_too_large:
            return SAFETYCLF_INPUT_TOO_LARGE;
        case ErrorCode::model_io:
            return SAFETYCLF_MODEL_IO;
        case ErrorCode::model_format:
            return SAFETYCLF_MODEL_FORMAT;
        case ErrorCode::unsupported_isa:
            return SAFETYCLF_UNSUPPORTED_ISA;
        case ErrorCode::device:
        case ErrorCode::cancelled:
        case ErrorCode::internal:
            break;
    }
    return SAFETYCLF_INTERNAL;
}

int32_t report(safetyclf_error* error, int32_t code, const char* message) noexcept {
    if (error == nullptr) return code;
    error->code = code;
    std::size_t size = std::min(std::strlen(message), sizeof error->message - 1);
    // Never through the middle of a character.
    while (message[size] != '\0' && size > 0 && (message[size] & 0xC0) == 0x80) --size;
    std::memcpy(error->message, message, size);
    error->message[size] = '\0';
    return code;
}

template <class Body>
int32_t guarded(safetyclf_error* error, Body body) noexcept {
    try {
        body();
        return report(error, SAFETYCLF_OK, "");
    } catch (const Error& e) {
        return report(error, code_of(e.code()), e.what());
    } catch (const std::bad_alloc&) {
        return report(error, SAFETYCLF_OUT_OF_MEMORY, "out of memory");
    } catch (const std::exception& e) {
        return report(error, SAFETYCLF_INTERNAL, e.what());
    } catch (...) {
        return report(error, SAFETYCLF_INTERNAL, "unknown exception");
    }
}

[[noreturn]] void refuse(const std::string& message) {
    throw Error(ErrorCode::invalid_argument, message);
}

void require(bool holds, const char* message) {
    if (!holds) refuse(message);
}

const safetyclf_classifier& checked(const safetyclf_classifier* classifier) {
    require(classifier != nullptr && classifier->mark == kOpen, "this is no open classifier");
    return *classifier;
}

// A caller's structure as this library knows it: members that an older program lacks are zero, and members
// that only a newer one has must be.
template <class T>
T known_part(const T* structure) {
    require(structure != nullptr, "a structure is NULL");
    const std::size_t size = structure->struct_size;
    require(size >= sizeof size && size <= 4096, "struct_size of a structure is not set");
    const auto* const bytes = reinterpret_cast<const unsigned char*>(structure);
    for (std::size_t i = sizeof(T); i < size; ++i)
        require(bytes[i] == 0, "a structure has a member that this version of the library does not know");
    T known{};
    std::memcpy(&known, bytes, std::min(size, sizeof(T)));
    return known;
}

// The other direction: fills as much as the caller has room for.
template <class T>
void fill(T* structure, T filled) {
    (void)known_part(structure);
    filled.struct_size = structure->struct_size;
    std::memcpy(structure, &filled, std::min(filled.struct_size, sizeof(T)));
}

template <class Model>
int32_t open(const Model& model, const safetyclf_options* options, safetyclf_classifier** out,
             safetyclf_error* error) {
    if (out != nullptr) *out = nullptr;
    return guarded(error, [&] {
        require(out != nullptr, "the place for the classifier is NULL");
        const safetyclf_options given = options == nullptr ? safetyclf_options{} : known_part(options);
        require(given.effort == SAFETYCLF_FULL || given.effort == SAFETYCLF_ADAPTIVE,
                "effort must be SAFETYCLF_FULL or SAFETYCLF_ADAPTIVE");
        safetyclf::Options wanted{.threads = given.threads, .max_memory = given.max_memory};
        if (given.max_text_bytes != 0) wanted.max_text_bytes = given.max_text_bytes;
        if (given.isa != nullptr) wanted.isa = given.isa;
        std::unique_ptr<safetyclf_classifier> made(
            new safetyclf_classifier{kOpen, given.effort, Classifier(model(), wanted), {}, {}});
        for (const auto& t : made->classifier.thresholds()) made->thresholds.push_back({t.review, t.block});
        if (made->thresholds.empty()) refuse("this model file has no calibrated heads: nothing to score");
        if (given.effort == SAFETYCLF_ADAPTIVE) {
            made->floors = made->classifier.exit_floors();
            if (made->floors.empty()) refuse("this model file has no rules for leaving early");
        }
        *out = made.release();
    });
}

std::vector<safetyclf::policy::Thresholds> in_force(const safetyclf_classifier& c,
                                                    const safetyclf_threshold* thresholds) {
    if (thresholds == nullptr) return c.thresholds;
    std::vector<safetyclf::policy::Thresholds> out;
    for (std::size_t i = 0; i < c.thresholds.size(); ++i) {
        out.push_back({thresholds[i].review, thresholds[i].block});
        try {
            safetyclf::policy::check_thresholds(out.back(), i);
        } catch (const Error& e) {
            refuse(e.what());  // the caller's, not the model file's
        }
    }
    return out;
}

// The first level of the rules for leaving early whose floors lie below the thresholds; none at full effort.
std::optional<std::size_t> level_for(const safetyclf_classifier& c,
                                     const std::vector<safetyclf::policy::Thresholds>& thresholds) {
    if (c.effort == SAFETYCLF_FULL) return std::nullopt;
    const std::size_t classes = thresholds.size();
    for (std::size_t level = 0; level * classes < c.floors.size(); ++level) {
        bool above = true;
        for (std::size_t i = 0; i < classes; ++i)
            above = above && thresholds[i].review >= c.floors[level * classes + i];
        if (above) return level;
    }
    refuse("a threshold is below the floors of the rules for leaving early: use SAFETYCLF_FULL");
}

std::string_view view_of(const safetyclf_text& text, std::size_t index) {
    if (text.data == nullptr && text.size != 0) refuse("text " + std::to_string(index) + " is NULL");
    return {text.data, text.size};
}

struct OwnedExplanation : safetyclf_explanation {
    std::vector<safetyclf_contribution> owned;
};

}  // namespace

uint32_t safetyclf_abi_version(void) {
    return SAFETYCLF_ABI_VERSION;
}

int32_t safetyclf_build_info(safetyclf_build* build, safetyclf_error* error) {
    return guarded(error, [&] {
        static const std::string isa = safetyclf::active_isa();
        static const std::string supported = [] {
            std::string joined;
            for (const std::string& name : safetyclf::supported_isas())
                joined += (joined.empty() ? "" : ",") + name;
            return joined;
        }();
        fill(build, {sizeof *build, SAFETYCLF_VERSION, isa.c_str(), supported.c_str(), __VERSION__,
                     safetyclf::numerics_revision(), 0});
    });
}

int32_t safetyclf_open(const char* path, const safetyclf_options* options, safetyclf_classifier** classifier,
                       safetyclf_error* error) {
    const auto model = [&] {
        require(path != nullptr, "the path is NULL");
        return std::string(path);
    };
    return open(model, options, classifier, error);
}

int32_t safetyclf_open_memory(const void* data, size_t size, const safetyclf_options* options,
                              safetyclf_classifier** classifier, safetyclf_error* error) {
    const auto model = [&] {
        require(data != nullptr, "the model's memory is NULL");
        return std::span(static_cast<const std::byte*>(data), size);
    };
    return open(model, options, classifier, error);
}

void safetyclf_close(safetyclf_classifier* classifier) {
    if (classifier == nullptr || classifier->mark != kOpen) return;
    classifier->mark = 0;
    delete classifier;
}

const char* safetyclf_model_id(const safetyclf_classifier* classifier) {
    if (classifier == nullptr || classifier->mark != kOpen) return nullptr;
    return classifier->classifier.model_id().c_str();
}

size_t safetyclf_categories(const safetyclf_classifier* classifier) {
    return classifier == nullptr || classifier->mark != kOpen ? 0 : classifier->thresholds.size();
}

int32_t safetyclf_category_at(const safetyclf_classifier* classifier, size_t index,
                              safetyclf_category* category, safetyclf_error* error) {
    return guarded(error, [&] {
        const auto& c = checked(classifier);
        if (index >= c.thresholds.size())
            refuse("category must be below " + std::to_string(c.thresholds.size()));
        const auto& named = c.classifier.categories()[index];
        fill(category, {sizeof *category,
                        named.name.c_str(),
                        named.coverage.c_str(),
                        {c.thresholds[index].review, c.thresholds[index].block}});
    });
}

int32_t safetyclf_classify(const safetyclf_classifier* classifier, const safetyclf_text* texts, size_t n,
                           const safetyclf_threshold* thresholds, const safetyclf_results* results,
                           safetyclf_error* error) {
    return guarded(error, [&] {
        const auto& c = checked(classifier);
        const safetyclf_results to = known_part(results);
        const std::size_t classes = c.thresholds.size();
        if (to.categories != classes)
            refuse("the results are for " + std::to_string(to.categories) + " categories, the model has " +
                   std::to_string(classes));
        require(texts != nullptr || n == 0, "the texts are NULL");
        std::vector<std::string_view> views;
        views.reserve(n);
        for (std::size_t i = 0; i < n; ++i) views.push_back(view_of(texts[i], i));
        const auto limits = in_force(c, thresholds);
        const auto level = level_for(c, limits);

        std::vector<float> own_scores(to.scores == nullptr ? n * classes : 0);
        const std::span<float> scores(to.scores == nullptr ? own_scores.data() : to.scores, n * classes);
        const std::span<std::uint32_t> windows(to.windows, to.windows == nullptr ? 0 : n);
        if (level) {
            std::vector<std::uint16_t> own_depths(to.depths == nullptr ? n : 0);
            c.classifier.adaptive_probabilities(views, *level, scores, windows,
                                                {to.depths == nullptr ? own_depths.data() : to.depths, n});
        } else {
            c.classifier.probabilities(views, scores, windows);
            if (to.depths != nullptr)
                std::fill_n(to.depths, n, static_cast<std::uint16_t>(c.classifier.depths() - 1));
        }
        std::vector<std::uint8_t> own_flags(classes);
        for (std::size_t i = 0; i < n; ++i) {
            const std::span<std::uint8_t> flags(
                to.flags == nullptr ? own_flags.data() : to.flags + i * classes, classes);
            const auto action = Policy::decide(scores.subspan(i * classes, classes), limits, flags);
            if (to.actions != nullptr) to.actions[i] = static_cast<std::uint8_t>(action);
        }
    });
}

int32_t safetyclf_explain(const safetyclf_classifier* classifier, safetyclf_text text, size_t category,
                          safetyclf_explanation** explanation, safetyclf_error* error) {
    if (explanation != nullptr) *explanation = nullptr;
    return guarded(error, [&] {
        require(explanation != nullptr, "the place for the explanation is NULL");
        const auto found = checked(classifier).classifier.explain(view_of(text, 0), category);
        auto made = std::make_unique<OwnedExplanation>();
        for (const auto& part : found.contributions)
            made->owned.push_back({part.begin, part.end, part.weight, part.continues_word ? 1 : 0});
        made->logit = found.logit;
        made->bias = found.bias;
        made->window = found.window;
        made->count = made->owned.size();
        made->contributions = made->owned.data();
        *explanation = made.release();
    });
}

void safetyclf_explanation_free(safetyclf_explanation* explanation) {
    delete static_cast<OwnedExplanation*>(explanation);
}
