"""Tests of facekit.data."""
