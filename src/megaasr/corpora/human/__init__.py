"""A test list of people speaking English, built from Debian packages; for tests only."""
