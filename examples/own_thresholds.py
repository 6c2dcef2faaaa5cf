"""One service, two rooms: the same model with thresholds of one's own."""

import safetyclf

TEXT = "Shut up, nobody asked you. Go away."

default = safetyclf.Classifier()
# One number is the review threshold, a pair is (review, block), and None means never.
strict = safetyclf.Classifier(policy=dict.fromkeys(default.categories, (0.2, 0.6)))
lenient = safetyclf.Classifier(policy=dict.fromkeys(default.categories, (0.95, None)))
for name, classifier in {"default": default, "strict": strict, "lenient": lenient}.items():
    verdict = classifier.classify(TEXT)
    flagged = [category for category, hit in verdict.categories.items() if hit]
    print(f"{name:8} {verdict.action:6} {', '.join(flagged)}")
