"""Recorded noises of free licences, built from Debian packages on the user's machine."""
