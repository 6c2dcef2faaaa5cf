/* The C interface: scores are those of the C++ one, misuse gives errors, structures may grow, threads and a
 * forked child may share a classifier. Built as C99 with the shared library and as C++ with the static one.
 */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.hpp"
#include "safetyclf/safetyclf.h"

#define MODEL "tests/data/tiny.safetensors"
#define K 3
#define N 4
#define CALLERS 4
#ifdef __SANITIZE_THREAD__ /* which allows no threads after a fork */
#define MAY_FORK 0
#else
#define MAY_FORK 1
#endif

static const safetyclf_text texts[N] = {
    {"they think the dog is rude", 26}, {"nul \0 and \xFF", 11}, {NULL, 0}, {"help", 4}};

struct outcome {
    float scores[N * K];
    uint8_t flags[N * K], actions[N];
    uint32_t windows[N];
    uint16_t depths[N];
};

static safetyclf_results into(struct outcome* o) {
    safetyclf_results results = SAFETYCLF_RESULTS_INIT;
    results.categories = K;
    results.scores = o->scores;
    results.flags = o->flags;
    results.actions = o->actions;
    results.windows = o->windows;
    results.depths = o->depths;
    return results;
}

static safetyclf_classifier* open_model(const safetyclf_options* options) {
    safetyclf_classifier* classifier = NULL;
    safetyclf_error error;
    CHECK(safetyclf_open(MODEL, options, &classifier, &error) == SAFETYCLF_OK);
    CHECK(error.code == SAFETYCLF_OK && error.message[0] == '\0' && classifier != NULL);
    return classifier;
}

static struct outcome classify(const safetyclf_classifier* classifier,
                               const safetyclf_threshold* thresholds) {
    struct outcome o;
    const safetyclf_results results = into(&o);
    memset(&o, 0xEE, sizeof o);
    CHECK(safetyclf_classify(classifier, texts, N, thresholds, &results, NULL) == SAFETYCLF_OK);
    return o;
}

static void same(const struct outcome* a, const struct outcome* b) {
    CHECK(memcmp(a->scores, b->scores, sizeof a->scores) == 0);
    CHECK(memcmp(a->flags, b->flags, sizeof a->flags) == 0);
    CHECK(memcmp(a->actions, b->actions, sizeof a->actions) == 0);
}

static void test_results(void) {
    safetyclf_classifier* classifier = open_model(NULL);
    const struct outcome o = classify(classifier, NULL);
    safetyclf_threshold file[K], never[K], always[K];
    size_t i, c;
    struct outcome other;

    CHECK(strncmp(safetyclf_model_id(classifier), "tiny-0.1.0+", 11) == 0);
    CHECK(safetyclf_categories(classifier) == K);
    for (c = 0; c < K; ++c) {
        static const char* const names[K] = {"harassment", "violence", "violence/graphic"};
        safetyclf_category category = SAFETYCLF_CATEGORY_INIT;
        CHECK(safetyclf_category_at(classifier, c, &category, NULL) == SAFETYCLF_OK);
        CHECK(strcmp(category.name, names[c]) == 0 && category.coverage != NULL);
        file[c] = category.threshold;
        never[c].review = never[c].block = 2;
        always[c].review = always[c].block = 0;
    }
    for (i = 0; i < N; ++i) {
        uint8_t strictest = SAFETYCLF_ALLOW;
        CHECK(o.windows[i] == 1 && o.depths[i] == 2);
        for (c = 0; c < K; ++c) {
            const float score = o.scores[i * K + c];
            CHECK(score >= 0 && score <= 1);
            CHECK(o.flags[i * K + c] == (score >= file[c].review));
            if (score >= file[c].review && strictest < SAFETYCLF_REVIEW) strictest = SAFETYCLF_REVIEW;
            if (score >= file[c].block) strictest = SAFETYCLF_BLOCK;
        }
        CHECK(o.actions[i] == strictest);
    }
    other = classify(classifier, file);
    same(&o, &other);
    other = classify(classifier, never);
    CHECK(memcmp(o.scores, other.scores, sizeof o.scores) == 0);
    for (i = 0; i < N; ++i) CHECK(other.actions[i] == SAFETYCLF_ALLOW);
    other = classify(classifier, always);
    for (i = 0; i < N; ++i) CHECK(other.actions[i] == SAFETYCLF_BLOCK && other.flags[i * K] == 1);
    safetyclf_close(classifier);
}

/* What is not asked for is not needed. */
static void test_parts_of_results(void) {
    safetyclf_classifier* classifier = open_model(NULL);
    const struct outcome all = classify(classifier, NULL);
    struct outcome some;
    safetyclf_results results = SAFETYCLF_RESULTS_INIT;
    results.categories = K;
    CHECK(safetyclf_classify(classifier, texts, N, NULL, &results, NULL) == SAFETYCLF_OK);
    CHECK(safetyclf_classify(classifier, NULL, 0, NULL, &results, NULL) == SAFETYCLF_OK);
    results.actions = some.actions;
    CHECK(safetyclf_classify(classifier, texts, N, NULL, &results, NULL) == SAFETYCLF_OK);
    CHECK(memcmp(some.actions, all.actions, sizeof all.actions) == 0);
    safetyclf_close(classifier);
}

static void test_model_in_memory(void) {
    safetyclf_classifier* from_file = open_model(NULL);
    safetyclf_classifier* from_memory;
    const struct outcome expected = classify(from_file, NULL);
    struct outcome got;
    safetyclf_error error;
    FILE* file = fopen(MODEL, "rb");
    size_t size = 1 << 20;
    char* data = (char*)malloc(size);
    CHECK(file != NULL && data != NULL);
    size = fread(data + 1, 1, size - 1, file); /* at an odd address */
    fclose(file);
    CHECK(safetyclf_open_memory(data + 1, size, NULL, &from_memory, NULL) == SAFETYCLF_OK);
    CHECK(strcmp(safetyclf_model_id(from_file), safetyclf_model_id(from_memory)) == 0);
    got = classify(from_memory, NULL);
    same(&expected, &got);
    safetyclf_close(from_memory);
    safetyclf_close(from_file);
    CHECK(safetyclf_open_memory(data + 1, size - 1, NULL, &from_memory, &error) == SAFETYCLF_MODEL_FORMAT);
    CHECK(from_memory == NULL && error.code == SAFETYCLF_MODEL_FORMAT && strlen(error.message) > 0);
    CHECK(safetyclf_open_memory(data, 0, NULL, &from_memory, NULL) == SAFETYCLF_MODEL_FORMAT);
    CHECK(safetyclf_open_memory(NULL, size, NULL, &from_memory, NULL) == SAFETYCLF_INVALID_ARGUMENT);
    free(data);
}

static void test_explanation(void) {
    safetyclf_classifier* classifier = open_model(NULL);
    safetyclf_explanation* explanation;
    double sum = 0;
    size_t i;
    CHECK(safetyclf_explain(classifier, texts[0], 1, &explanation, NULL) == SAFETYCLF_OK);
    CHECK(explanation->window == 0 && explanation->count >= 8);
    for (i = 0; i < explanation->count; ++i) {
        sum += explanation->contributions[i].weight;
        CHECK(explanation->contributions[i].begin <= explanation->contributions[i].end);
        CHECK(explanation->contributions[i].end <= texts[0].size);
    }
    CHECK(fabs(sum + explanation->bias - explanation->logit) < 1e-4);
    CHECK(safetyclf_explain(classifier, texts[0], K, NULL, NULL) == SAFETYCLF_INVALID_ARGUMENT);
    safetyclf_close(classifier);
    CHECK(explanation->contributions[1].begin == 0 && explanation->contributions[1].end > 0);
    safetyclf_explanation_free(explanation);
    safetyclf_explanation_free(NULL);
}

static void refused(const safetyclf_options* options, int32_t code, const char* part) {
    safetyclf_classifier* classifier = (safetyclf_classifier*)1;
    safetyclf_error error;
    CHECK(safetyclf_open(MODEL, options, &classifier, &error) == code);
    CHECK(error.code == code && strstr(error.message, part) != NULL && classifier == NULL);
}

static void test_options(void) {
    struct {
        safetyclf_options known;
        uint64_t later;
    } grown;
    safetyclf_options options = SAFETYCLF_OPTIONS_INIT;
    safetyclf_classifier* classifier;
    char message[32];
    options.threads = 1025;
    refused(&options, SAFETYCLF_INVALID_ARGUMENT, "threads");
    options.threads = 2;
    options.effort = 7;
    refused(&options, SAFETYCLF_INVALID_ARGUMENT, "effort");
    options.effort = SAFETYCLF_ADAPTIVE;
    refused(&options, SAFETYCLF_INVALID_ARGUMENT, "leaving early");
    options.effort = SAFETYCLF_FULL;
    options.isa = "abacus";
    refused(&options, SAFETYCLF_UNSUPPORTED_ISA, "abacus");
    options.isa = "scalar";
    options.max_text_bytes = (uint64_t)1 << 31;
    refused(&options, SAFETYCLF_INVALID_ARGUMENT, "max_text_bytes");
    options.max_text_bytes = 10;
    options.max_memory = 1000;
    refused(&options, SAFETYCLF_INVALID_ARGUMENT, "max_memory must be at least ");
    options.struct_size = 0;
    refused(&options, SAFETYCLF_INVALID_ARGUMENT, "struct_size");

    /* An older program, which had no max_memory; and a newer one, which asks for something or does not. */
    options.struct_size = offsetof(safetyclf_options, max_memory);
    classifier = open_model(&options);
    {
        struct outcome o;
        const safetyclf_results results = into(&o);
        safetyclf_error error;
        snprintf(message, sizeof message, "text %d has %d bytes", 0, 26);
        CHECK(safetyclf_classify(classifier, texts, N, NULL, &results, &error) == SAFETYCLF_INPUT_TOO_LARGE);
        CHECK(strncmp(error.message, message, strlen(message)) == 0);
    }
    safetyclf_close(classifier);
    memset(&grown, 0, sizeof grown);
    grown.known.struct_size = sizeof grown;
    safetyclf_close(open_model(&grown.known));
    grown.later = 1;
    refused(&grown.known, SAFETYCLF_INVALID_ARGUMENT, "does not know");
}

static void test_misuse(void) {
    safetyclf_classifier* const good = open_model(NULL);
    char nothing[256] = {0};
    safetyclf_classifier* const bad = (safetyclf_classifier*)(void*)nothing;
    struct outcome o;
    safetyclf_results results = into(&o);
    safetyclf_category category = SAFETYCLF_CATEGORY_INIT;
    safetyclf_explanation* explanation;
    safetyclf_classifier* classifier;
    safetyclf_text null_text = {NULL, 1};
    safetyclf_threshold thresholds[K] = {{0.5f, 0.75f}, {0.5f, 0.75f}, {0.5f, 0.75f}};
    safetyclf_error error;
    const int32_t wrong = SAFETYCLF_INVALID_ARGUMENT;

    CHECK(safetyclf_open(NULL, NULL, &classifier, NULL) == wrong && classifier == NULL);
    CHECK(safetyclf_open(MODEL, NULL, NULL, &error) == wrong && error.code == wrong);
    CHECK(safetyclf_open("tests/data/none", NULL, &classifier, &error) == SAFETYCLF_MODEL_IO);
    CHECK(strstr(error.message, "tests/data/none") != NULL);
    CHECK(safetyclf_open("tests/data/golden.json", NULL, &classifier, NULL) == SAFETYCLF_MODEL_FORMAT);

    CHECK(safetyclf_categories(NULL) == 0 && safetyclf_categories(bad) == 0);
    CHECK(safetyclf_model_id(NULL) == NULL && safetyclf_model_id(bad) == NULL);
    safetyclf_close(NULL);
    safetyclf_close(bad);
    CHECK(safetyclf_category_at(NULL, 0, &category, NULL) == wrong);
    CHECK(safetyclf_category_at(good, K, &category, NULL) == wrong && category.name == NULL);
    CHECK(safetyclf_category_at(good, 0, NULL, NULL) == wrong);
    CHECK(safetyclf_build_info(NULL, NULL) == wrong);
    CHECK(safetyclf_explain(bad, texts[0], 0, &explanation, NULL) == wrong && explanation == NULL);
    CHECK(safetyclf_explain(good, null_text, 0, &explanation, NULL) == wrong);

    CHECK(safetyclf_classify(NULL, texts, N, NULL, &results, NULL) == wrong);
    CHECK(safetyclf_classify(bad, texts, N, NULL, &results, NULL) == wrong);
    CHECK(safetyclf_classify(good, NULL, N, NULL, &results, NULL) == wrong);
    CHECK(safetyclf_classify(good, texts, N, NULL, NULL, NULL) == wrong);
    CHECK(safetyclf_classify(good, &null_text, 1, NULL, &results, &error) == wrong);
    CHECK(strcmp(error.message, "text 0 is NULL") == 0);
    results.categories = K + 1;
    CHECK(safetyclf_classify(good, texts, N, NULL, &results, NULL) == wrong);
    results.categories = K;
    results.struct_size = SIZE_MAX;
    CHECK(safetyclf_classify(good, texts, N, NULL, &results, NULL) == wrong);
    results.struct_size = sizeof results;
    CHECK(safetyclf_classify(good, texts, N, thresholds, &results, NULL) == SAFETYCLF_OK);
    thresholds[2].block = 0.25f;
    CHECK(safetyclf_classify(good, texts, N, thresholds, &results, NULL) == wrong);
    thresholds[2].block = thresholds[2].review = NAN;
    CHECK(safetyclf_classify(good, texts, N, thresholds, &results, NULL) == wrong);
    safetyclf_close(good);
}

/* A message that is too long is cut between characters. */
static void test_long_message(void) {
    char name[2002] = "";
    safetyclf_options options = SAFETYCLF_OPTIONS_INIT;
    safetyclf_classifier* classifier;
    safetyclf_error error;
    size_t first, i, size;
    for (first = 0; first < 2; ++first) {
        memset(name, '-', sizeof name - 1);
        for (i = first; i + 2 < sizeof name; i += 2) memcpy(name + i, "\xC3\xA9", 2);
        options.isa = name;
        CHECK(safetyclf_open(MODEL, &options, &classifier, &error) == SAFETYCLF_UNSUPPORTED_ISA);
        size = strlen(error.message);
        CHECK(size >= sizeof error.message - 2 && size < sizeof error.message);
        CHECK((error.message[size - 1] & 0xC0) == 0x80);
    }
}

struct caller {
    const safetyclf_classifier* classifier;
    const struct outcome* expected;
};

static void* call_often(void* argument) {
    const struct caller* caller = (const struct caller*)argument;
    safetyclf_explanation* explanation;
    int i;
    for (i = 0; i < 8; ++i) {
        const struct outcome got = classify(caller->classifier, NULL);
        same(&got, caller->expected);
        CHECK(safetyclf_explain(caller->classifier, texts[0], 0, &explanation, NULL) == SAFETYCLF_OK);
        safetyclf_explanation_free(explanation);
    }
    return NULL;
}

static void test_threads(uint64_t max_memory) {
    safetyclf_options options = SAFETYCLF_OPTIONS_INIT;
    safetyclf_classifier* classifier;
    struct outcome expected;
    struct caller caller;
    pthread_t threads[CALLERS];
    int i;
    options.threads = 2;
    options.max_text_bytes = 100;
    options.max_memory = max_memory;
    classifier = open_model(&options);
    expected = classify(classifier, NULL);
    caller.classifier = classifier;
    caller.expected = &expected;
    for (i = 0; i < CALLERS; ++i) CHECK(pthread_create(&threads[i], NULL, call_often, &caller) == 0);
    for (i = 0; i < CALLERS; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
    safetyclf_close(classifier);
}

static void test_fork(void) {
    safetyclf_options options = SAFETYCLF_OPTIONS_INIT;
    safetyclf_classifier* classifier;
    struct outcome expected;
    int status = -1;
    pid_t child;
    options.threads = 2;
    classifier = open_model(&options);
    expected = classify(classifier, NULL);
    child = fork();
    if (child == 0) {
        const struct outcome got = classify(classifier, NULL);
        same(&got, &expected);
        safetyclf_close(classifier);
        _exit(0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    safetyclf_close(classifier);
}

int main(void) {
    safetyclf_build build = SAFETYCLF_BUILD_INIT;
    CHECK(safetyclf_abi_version() == SAFETYCLF_ABI_VERSION);
    CHECK(safetyclf_build_info(&build, NULL) == SAFETYCLF_OK);
    CHECK(strstr(build.supported_isas, build.isa) != NULL && strstr(build.supported_isas, "scalar") != NULL);
    CHECK(build.numerics_revision >= 1 && strlen(build.version) > 0 && strlen(build.compiler) > 0);
    test_results();
    test_parts_of_results();
    test_model_in_memory();
    test_explanation();
    test_options();
    test_misuse();
    test_long_message();
    test_threads(0);
    test_threads(4 << 20);
    if (MAY_FORK) test_fork();
    return 0;
}
