"""People who speak English, for tests only: a list built from packages of Debian."""
