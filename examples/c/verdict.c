/* Prints the verdict on a text as JSON: verdict MODEL_FILE [TEXT], without TEXT on all of standard input.
 * Exit status 0 allow, 1 review or block, 2 an error. */
#include <safetyclf/safetyclf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LARGEST_TEXT (1 << 20)

/* All of standard input. One byte more than the classifier takes is enough for it to say so. */
static safetyclf_text read_input(void) {
    safetyclf_text text = {NULL, 0};
    char* data = (char*)malloc(LARGEST_TEXT + 1);
    if (data != NULL) text.size = fread(data, 1, LARGEST_TEXT + 1, stdin);
    text.data = data;
    return text;
}

static int fail(const char* what, const safetyclf_error* error) {
    fprintf(stderr, "%s: %s\n", what, error->message);
    return 2;
}

/* Names of categories and models are plain ASCII without anything that JSON escapes. */
static int print_verdict(const safetyclf_classifier* classifier, safetyclf_text text) {
    static const char* const actions[] = {"allow", "review", "block"};
    const size_t k = safetyclf_categories(classifier);
    safetyclf_error error;
    safetyclf_results results = SAFETYCLF_RESULTS_INIT;
    uint8_t action = 0;
    int status = 2;
    size_t c;

    results.categories = k;
    results.scores = (float*)malloc(k * sizeof(float));
    results.flags = (uint8_t*)malloc(k);
    results.actions = &action;
    if (results.scores == NULL || results.flags == NULL) {
        fprintf(stderr, "out of memory\n");
    } else if (safetyclf_classify(classifier, &text, 1, NULL, &results, &error) != SAFETYCLF_OK) {
        status = fail("classify", &error);
    } else {
        printf("{\"model\": \"%s\", \"action\": \"%s\"", safetyclf_model_id(classifier), actions[action]);
        for (c = 0; c < k; ++c) {
            safetyclf_category category = SAFETYCLF_CATEGORY_INIT;
            if (safetyclf_category_at(classifier, c, &category, &error) != SAFETYCLF_OK) break;
            /* Nine digits tell every float from its neighbours. */
            printf("%s\"%s\": {\"score\": %.9g, \"flagged\": %s}", c == 0 ? ", \"categories\": {" : ", ",
                   category.name, (double)results.scores[c], results.flags[c] ? "true" : "false");
        }
        printf("}}\n");
        status = action == SAFETYCLF_ALLOW ? 0 : 1;
    }
    free(results.scores);
    free(results.flags);
    return status;
}

int main(int argc, char** argv) {
    safetyclf_options options = SAFETYCLF_OPTIONS_INIT;
    safetyclf_classifier* classifier;
    safetyclf_error error;
    safetyclf_text text;
    int status;

    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: verdict MODEL_FILE [TEXT]\n");
        return 2;
    }
    options.threads = 1;
    options.max_text_bytes = LARGEST_TEXT;
    if (safetyclf_open(argv[1], &options, &classifier, &error) != SAFETYCLF_OK) return fail(argv[1], &error);
    if (argc == 3) {
        text.data = argv[2];
        text.size = strlen(argv[2]);
    } else {
        text = read_input();
    }
    status = print_verdict(classifier, text);
    if (argc == 2) free((void*)text.data);
    safetyclf_close(classifier);
    return status;
}
