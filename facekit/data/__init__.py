"""Datasets as tables, images and batches."""
