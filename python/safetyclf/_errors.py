"""All errors that safetyclf raises on purpose.

    SafetyclfError
    |-- InvalidInputError (TypeError)         a text has the wrong type
    |-- InvalidArgumentError (ValueError)     an option or argument is out of its range
    |-- TextTooLargeError (ValueError)        a text, or a batch in tokens, exceeds the size cap
    |-- ModelFileError (OSError)              the model file cannot be opened, mapped, read or written
    |   `-- ModelFormatError                  it breaks a rule of docs/model-format.md
    |-- UnsupportedIsaError (RuntimeError)    the instruction set asked for is unknown or this CPU lacks it
    |-- DeviceError (RuntimeError)            a GPU, or its driver, is missing, unfit, full or broken
    |-- PolicyError (ValueError)              a policy does not fit the model or contradicts itself
    |-- DataFileError (ValueError)            an input file cannot be understood; the message says where
    |-- MissingDependencyError (ImportError)  an optional package is not installed; the message names the
    extra `-- InternalError (RuntimeError)          a broken invariant: a bug in this library, please report
    it

Each also derives from the built-in exception in brackets, so that code which expects that one keeps working.
MemoryError, KeyboardInterrupt and the OSError of a file that is not a model pass through unchanged.
"""

from __future__ import annotations


class SafetyclfError(Exception):
    """Base of every error in this module."""


class InvalidInputError(SafetyclfError, TypeError):
    """A text has the wrong type."""


class InvalidArgumentError(SafetyclfError, ValueError):
    """An option or argument is out of its range."""


class TextTooLargeError(SafetyclfError, ValueError):
    """A text or a batch exceeds the size cap."""


class ModelFileError(SafetyclfError, OSError):
    """The model file cannot be opened, mapped, read or written."""


class ModelFormatError(ModelFileError):
    """The model file breaks a rule of docs/model-format.md."""


class UnsupportedIsaError(SafetyclfError, RuntimeError):
    """The instruction set asked for is unknown or not supported by this CPU."""


class DeviceError(SafetyclfError, RuntimeError):
    """A GPU or its driver is missing, does not fit, is out of memory or failed."""


class PolicyError(SafetyclfError, ValueError):
    """A policy does not fit the model or contradicts itself."""


class DataFileError(SafetyclfError, ValueError):
    """An input file cannot be understood."""


class MissingDependencyError(SafetyclfError, ImportError):
    """An optional package that this task needs is not installed."""


class InternalError(SafetyclfError, RuntimeError):
    """A bug in this library."""
