"""Everything that is kept: one SQLite file per account, one module per table family."""
