/* Compares the scores of the C library with golden ones, bit by bit: golden MODEL_FILE CASES [best], where
 * the second comes from golden_cases.py. Every instruction set that this CPU has takes its turn, or the best
 * alone. */
#include <safetyclf/safetyclf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void* need(void* memory) {
    if (memory == NULL) exit(2);
    return memory;
}

static uint32_t number(FILE* file) {
    unsigned char b[4];
    if (fread(b, 1, 4, file) != 4) exit(2);
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

int main(int argc, char** argv) {
    FILE* file = argc >= 3 ? fopen(argv[2], "rb") : NULL;
    safetyclf_build build = SAFETYCLF_BUILD_INIT;
    safetyclf_options options = SAFETYCLF_OPTIONS_INIT;
    safetyclf_results results = SAFETYCLF_RESULTS_INIT;
    safetyclf_error error;
    const char* isas;
    size_t n, k, i, wrong = 0;

    if (file == NULL || safetyclf_build_info(&build, &error) != SAFETYCLF_OK) return 2;
    n = number(file);
    k = number(file);
    safetyclf_text* const texts = (safetyclf_text*)need(malloc(n * sizeof *texts));
    uint32_t* const expected = (uint32_t*)need(malloc(n * k * sizeof *expected));
    float* const scores = (float*)need(malloc(n * k * sizeof *scores));
    for (i = 0; i < n; ++i) {
        const size_t size = number(file);
        char* const data = (char*)need(malloc(size + 1));
        size_t c;
        if (fread(data, 1, size, file) != size) return 2;
        texts[i].data = data;
        texts[i].size = size;
        for (c = 0; c < k; ++c) expected[i * k + c] = number(file);
    }
    results.categories = k;
    results.scores = scores;
    for (isas = build.supported_isas; *isas != '\0'; isas += isas[0] == ',') {
        char isa[32] = "";
        safetyclf_classifier* classifier;
        sscanf(isas, "%31[^,]", isa);
        isas += strlen(isa);
        options.isa = isa;
        if (safetyclf_open(argv[1], &options, &classifier, &error) != SAFETYCLF_OK ||
            safetyclf_classify(classifier, texts, n, NULL, &results, &error) != SAFETYCLF_OK) {
            fprintf(stderr, "%s: %s\n", isa, error.message);
            return 2;
        }
        for (i = 0; i < n * k; ++i) wrong += memcmp(scores + i, expected + i, sizeof *scores) != 0;
        printf("%s: %zu scores, %zu wrong\n", isa, n * k, wrong);
        safetyclf_close(classifier);
        if (argc > 3) break;
    }
    return wrong == 0 ? 0 : 1;
}
