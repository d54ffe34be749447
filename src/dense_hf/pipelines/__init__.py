"""Pipelines, one file per task."""
