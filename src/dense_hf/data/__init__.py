"""Builders and strict readers of data sets."""
