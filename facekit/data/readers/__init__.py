"""One module a dataset: `read_tables(root, **options)` returns its table and the excluded rows."""
