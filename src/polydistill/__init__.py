"""Distil a large multilingual LLM into small text classifiers; a module or package for each of the ten steps."""

__version__ = "0.1.0"
