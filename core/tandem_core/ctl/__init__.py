"""tandemctl: the account from a terminal."""
