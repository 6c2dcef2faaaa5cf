"""Which words a score comes from: python explain.py "some text"."""

import sys

import safetyclf

text = sys.argv[1]
verdict = safetyclf.Classifier().classify(text)
category = max(verdict.scores, key=verdict.scores.__getitem__)
explanation = verdict.explain(category)
print(f"{category}: probability {verdict.scores[category]:.3f}, logit {explanation.logit:+.3f}")
print(f"{explanation.bias + explanation.rest:+8.3f}  whatever the words")
for span in sorted(explanation.spans, key=lambda span: -abs(span.weight)):
    print(f"{span.weight:+8.3f}  {text[span.start : span.end]}")
