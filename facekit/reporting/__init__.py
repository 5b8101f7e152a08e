"""Reporting: runs a notebook with checked parameters, records what it measured, and sets that against the published claims."""
