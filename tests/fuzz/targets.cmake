# One line a fuzz target: penstock_fuzz(name modules...). See tests/fuzz/README.md.
