"""Verdicts for the lines of a file, in bounded memory: python classify_file.py messages.txt."""

import sys

import safetyclf

classifier = safetyclf.Classifier()
with open(sys.argv[1], encoding="utf-8") as file:
    lines = (line.rstrip("\n") for line in file)
    for number, verdict in enumerate(classifier.stream(lines), 1):
        category, score = max(verdict.scores.items(), key=lambda item: item[1])
        print(f"{number:4} {verdict.action:6} {score:.3f} {category}")
