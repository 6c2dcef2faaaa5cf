/* The C interface: a model file in, verdicts out, without Python. C99, also legal C++. docs/embedding.md
 * shows how to build with it.
 *
 * Rules for all functions:
 * - One that can fail returns SAFETYCLF_OK or an enum safetyclf_code, and with a code fills *error where
 *   that is not NULL. It then has written nothing else that may be read, except a NULL classifier. No
 *   exception leaves the library, and it ends no process.
 * - A classifier does not change between safetyclf_open and safetyclf_close. All functions may be called
 *   on it by any number of threads at once, safetyclf_close excepted. After fork() both processes may go
 *   on using it, and each closes its own.
 * - Strings that come out are UTF-8, end in NUL, belong to the library and live as long as the classifier,
 *   or as the process if none is involved. Strings that go in are read during the call only.
 * - A NULL where the comment does not allow it, and a classifier that safetyclf_open did not make, are
 *   refused with SAFETYCLF_INVALID_ARGUMENT. Using a classifier after closing it is a mistake that is
 *   noticed only by chance.
 *
 * How it may grow: a structure with struct_size gets new members at its end, whose zero means what was
 * before; set struct_size to the sizeof that you compiled with (the _INIT macros do), and old programs go
 * on working with newer libraries. A program that sets members which an older library does not know is
 * refused by it. Structures without struct_size never change. Any other change gives a new
 * SAFETYCLF_ABI_VERSION and a new name of the shared library. */
#ifndef SAFETYCLF_SAFETYCLF_H
#define SAFETYCLF_SAFETYCLF_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define SAFETYCLF_API __attribute__((visibility("default")))
#else
#define SAFETYCLF_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define SAFETYCLF_ABI_VERSION 1

/* The version that the library was built with. A program that opens the library at run time compares it
 * with its own. */
SAFETYCLF_API uint32_t safetyclf_abi_version(void);

enum safetyclf_code {
    SAFETYCLF_OK = 0,
    SAFETYCLF_INVALID_ARGUMENT = 1, /* an argument or option is out of its range */
    SAFETYCLF_INPUT_TOO_LARGE = 2,  /* a text has more than max_text_bytes; the message has its index */
    SAFETYCLF_MODEL_IO = 3,         /* the model file cannot be opened or read */
    SAFETYCLF_MODEL_FORMAT = 4,     /* it is damaged, or no model file; the message names the rule */
    SAFETYCLF_UNSUPPORTED_ISA = 5,  /* this CPU or this build lacks the instruction set that was asked for */
    SAFETYCLF_OUT_OF_MEMORY = 6,
    SAFETYCLF_INTERNAL = 7 /* a bug in this library */
};

/* Belongs to the caller; may be uninitialised before a call. */
typedef struct safetyclf_error {
    int32_t code;      /* an enum safetyclf_code */
    char message[508]; /* UTF-8, ends in NUL, cut if too long */
} safetyclf_error;

typedef struct safetyclf_build {
    size_t struct_size;
    const char* version;        /* of the library, for example "1.2.3" */
    const char* isa;            /* the instruction set that a new classifier would use */
    const char* supported_isas; /* those this CPU can run, best first, separated by ',' */
    const char* compiler;
    uint32_t numerics_revision; /* equal revisions give equal bits */
    uint32_t unused;            /* 0 */
} safetyclf_build;
#define SAFETYCLF_BUILD_INIT \
    { sizeof(safetyclf_build), NULL, NULL, NULL, NULL, 0, 0 }

/* Fills *build. Fails with SAFETYCLF_UNSUPPORTED_ISA if the environment's SAFETYCLF_ISA names none that
 * works here. */
SAFETYCLF_API int32_t safetyclf_build_info(safetyclf_build* build, safetyclf_error* error);

typedef struct safetyclf_classifier safetyclf_classifier;

enum safetyclf_effort {
    SAFETYCLF_FULL = 0,    /* every layer of the model */
    SAFETYCLF_ADAPTIVE = 1 /* a text may leave early, by rules of the model file (docs/adaptive-depth.md) */
};

/* Zero is the default of every option. */
typedef struct safetyclf_options {
    size_t struct_size;
    uint32_t threads;        /* that work on one call, 1 to 1024. 0: as many as this process may use */
    int32_t effort;          /* an enum safetyclf_effort */
    uint64_t max_text_bytes; /* a longer text is refused; 1 to 2^30. 0: 1 MiB */
    uint64_t max_memory;     /* bytes of working memory (docs/embedding.md). 0: no limit */
    const char* isa;         /* the name of an instruction set. NULL: SAFETYCLF_ISA, or the best */
} safetyclf_options;
#define SAFETYCLF_OPTIONS_INIT \
    { sizeof(safetyclf_options), 0, SAFETYCLF_FULL, 0, 0, NULL }

/* Loads a model file and checks every byte of it. `options` may be NULL. The caller closes *classifier,
 * which is NULL after a failure. The file must not change while it is open, but may be removed or replaced
 * by renaming. Takes tens of milliseconds. */
SAFETYCLF_API int32_t safetyclf_open(const char* path, const safetyclf_options* options,
                                     safetyclf_classifier** classifier, safetyclf_error* error);

/* The same from the `size` bytes of a model file at `data`, at any address, which must stay and not change
 * until the close. */
SAFETYCLF_API int32_t safetyclf_open_memory(const void* data, size_t size, const safetyclf_options* options,
                                            safetyclf_classifier** classifier, safetyclf_error* error);

/* Gives back all memory and threads. No call on it may be running. NULL is allowed. */
SAFETYCLF_API void safetyclf_close(safetyclf_classifier* classifier);

/* name-version+hash; the hash commits to every byte of the model file. NULL for what is no classifier. */
SAFETYCLF_API const char* safetyclf_model_id(const safetyclf_classifier* classifier);

/* Number of scored categories: columns of the scores. 0 for what is no classifier. */
SAFETYCLF_API size_t safetyclf_categories(const safetyclf_classifier* classifier);

/* Probabilities in [0, 1], or 2 for never; block is at least review. */
typedef struct safetyclf_threshold {
    float review; /* flagged at or above */
    float block;  /* blocked at or above */
} safetyclf_threshold;

typedef struct safetyclf_category {
    size_t struct_size;
    const char* name;
    const char* coverage;          /* "trained", "weak" or "derived" */
    safetyclf_threshold threshold; /* the model file's */
} safetyclf_category;
#define SAFETYCLF_CATEGORY_INIT                   \
    {                                             \
        sizeof(safetyclf_category), NULL, NULL, { \
            0, 0                                  \
        }                                         \
    }

/* Fills *category with that of column `index`, below safetyclf_categories. */
SAFETYCLF_API int32_t safetyclf_category_at(const safetyclf_classifier* classifier, size_t index,
                                            safetyclf_category* category, safetyclf_error* error);

/* Any bytes, also NUL and ill-formed UTF-8, which reads as U+FFFD. `data` may be NULL if `size` is 0. */
typedef struct safetyclf_text {
    const char* data;
    size_t size;
} safetyclf_text;

enum safetyclf_action { SAFETYCLF_ALLOW = 0, SAFETYCLF_REVIEW = 1, SAFETYCLF_BLOCK = 2 };

/* Where results go: arrays of the caller's, n texts and k categories. Those that are NULL are not filled. */
typedef struct safetyclf_results {
    size_t struct_size;
    size_t
        categories;   /* k, as the arrays were made for it; another number than the classifier's is refused */
    float* scores;    /* [n, k] calibrated probabilities: the same bits on every CPU, in any batch */
    uint8_t* flags;   /* [n, k] 1 where the score reaches the review threshold, else 0 */
    uint8_t* actions; /* [n] an enum safetyclf_action: the strictest of all categories */
    uint32_t* windows; /* [n] overlapping windows that the text was read in, 1 unless it is long */
    uint16_t* depths;  /* [n] after how many layers the text left */
} safetyclf_results;
#define SAFETYCLF_RESULTS_INIT \
    { sizeof(safetyclf_results), 0, NULL, NULL, NULL, NULL, NULL }

/* Scores n texts. `thresholds` are k that replace the model file's, or NULL. A text over max_text_bytes
 * fails the call before any work; n may be 0. With SAFETYCLF_ADAPTIVE, thresholds below the floors of the
 * model file's rules are refused. */
SAFETYCLF_API int32_t safetyclf_classify(const safetyclf_classifier* classifier, const safetyclf_text* texts,
                                         size_t n, const safetyclf_threshold* thresholds,
                                         const safetyclf_results* results, safetyclf_error* error);

/* One token of the window with the highest logit. */
typedef struct safetyclf_contribution {
    size_t begin, end;      /* half-open byte range of the text; empty for the two special tokens */
    float weight;           /* all weights and the bias add up to the logit, but for rounding */
    int32_t continues_word; /* 1: a later piece of the same word as the contribution before it */
} safetyclf_contribution;

typedef struct safetyclf_explanation {
    float logit, bias;
    uint32_t window; /* its number, from 0 */
    size_t count;
    const safetyclf_contribution* contributions; /* [count], in the order of the text */
} safetyclf_explanation;

/* Where the score of a category comes from, by one more run of the model. The caller frees *explanation,
 * which may outlive the classifier. */
SAFETYCLF_API int32_t safetyclf_explain(const safetyclf_classifier* classifier, safetyclf_text text,
                                        size_t category, safetyclf_explanation** explanation,
                                        safetyclf_error* error);

/* NULL is allowed. */
SAFETYCLF_API void safetyclf_explanation_free(safetyclf_explanation* explanation);

#ifdef __cplusplus
}
#endif
#endif
