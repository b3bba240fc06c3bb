"""A recipient list plus a template becomes a campaign, and afterwards you know exactly who got it."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("mailer-worker")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
