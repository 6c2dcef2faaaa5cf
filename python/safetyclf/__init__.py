"""Text safety classification in process.

A native int8 engine with calibrated thresholds, the model inside, no network.

>>> import safetyclf
>>> classifier = safetyclf.Classifier()
>>> verdict = classifier.classify("have a nice day")
>>> verdict.action
'allow'

docs/api.md is the tour. Importing this package does not import NumPy; only arrays do.
"""

from ._chat import ChatTurn, ChatVerdict
from ._classifier import Classifier
from ._errors import (
    DataFileError,
    DeviceError,
    InternalError,
    InvalidArgumentError,
    InvalidInputError,
    MissingDependencyError,
    ModelFileError,
    ModelFormatError,
    PolicyError,
    SafetyclfError,
    TextTooLargeError,
    UnsupportedIsaError,
)
from ._native import build_info
from ._results import Explanation, Span, TermMatch, Thresholds
from ._text_stream import Release, TextStream
from ._verdict import Verdict

__version__: str = build_info()["version"]

__all__ = [
    "ChatTurn",
    "ChatVerdict",
    "Classifier",
    "DataFileError",
    "DeviceError",
    "Explanation",
    "InternalError",
    "InvalidArgumentError",
    "InvalidInputError",
    "MissingDependencyError",
    "ModelFileError",
    "ModelFormatError",
    "PolicyError",
    "Release",
    "SafetyclfError",
    "Span",
    "TermMatch",
    "TextStream",
    "TextTooLargeError",
    "Thresholds",
    "UnsupportedIsaError",
    "Verdict",
    "__version__",
    "build_info",
]
